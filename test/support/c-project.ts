import {shell} from './dev-cluster.js';

/** A C program of 25 files with a Makefile, in a new folder `dir`. Made with `make`, it prints 300. */
export async function writeCProject(dir: string): Promise<void> {
  await shell(`mkdir ${dir} && cd ${dir}
    for i in $(seq 1 24); do echo "int f$i(int x) { return x + $i; }" > f$i.c; done
    { for i in $(seq 1 24); do echo "int f$i(int);"; done
      echo '#include <stdio.h>'; echo 'int main(void) { int x = 0;'
      for i in $(seq 1 24); do echo "x = f$i(x);"; done; echo 'printf("%d\\n", x); return 0; }'; } > main.c
    printf 'prog: main.o %s\\n\\t$(CC) -o $@ $^\\n' "$(for i in $(seq 1 24); do printf 'f%s.o ' $i; done)" > Makefile`);
}
