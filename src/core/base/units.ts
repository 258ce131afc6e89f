export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** The block that carries a sum; every data server I/O is aligned to it. */
export const BLOCK_BYTES = 4 * KIB;

const SUFFIX: Record<string, number> = {
  '': 1,
  k: KIB,
  kib: KIB,
  m: MIB,
  mib: MIB,
  g: GIB,
  gib: GIB,
  t: 1024 * GIB,
  tib: 1024 * GIB,
};

/** Bytes of a size such as `64KiB`, `1m` or `4096`; null if it is not one. */
export function parseSize(text: string): number | null {
  const match = /^(\d+)\s*([a-zA-Z]*)$/.exec(text.trim());
  if (match === null) return null;
  const unit = SUFFIX[match[2]!.toLowerCase()];
  if (unit === undefined) return null;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** A size for people: `1.5 GiB`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']) {
    if (value < 1024 || unit === 'PiB') {
      return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`;
    }
    value /= 1024;
  }
  return `${bytes} B`;
}

export const alignDown = (value: number, to: number): number => value - (value % to);
export const alignUp = (value: number, to: number): number => alignDown(value + to - 1, to);
