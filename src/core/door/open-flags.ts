/** open(2) flags of Linux (asm-generic/fcntl.h). */
export const O_ACCMODE = 3;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
