/** GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), as ISA-L has it; 2 generates all but zero. */
const POLYNOMIAL = 0x11d;

/** power[i] = 2^i, twice over, so that a sum of two logarithms needs no modulo. */
const power = new Uint8Array(510);
const logarithm = new Uint8Array(256);
for (let i = 0, value = 1; i < 255; i++) {
  power[i] = value;
  power[i + 255] = value;
  logarithm[value] = i;
  value <<= 1;
  if (value > 255) value ^= POLYNOMIAL;
}

export function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : power[logarithm[a]! + logarithm[b]!]!;
}

/** 1 / a; a is not 0. */
export function reciprocal(a: number): number {
  return power[255 - logarithm[a]!]!;
}

/** target += factor * source, byte by byte. */
export function addMultiple(target: Uint8Array, source: Uint8Array, factor: number): void {
  if (factor === 0) return;
  if (factor === 1) {
    for (let i = 0; i < target.length; i++) target[i]! ^= source[i]!;
    return;
  }
  const products = new Uint8Array(256);
  for (let value = 1; value < 256; value++) products[value] = multiply(factor, value);
  for (let i = 0; i < target.length; i++) target[i]! ^= products[source[i]!]!;
}

/** The inverse of a square matrix by Gauss-Jordan, or null if there is none. `rows` is not changed. */
export function invert(rows: readonly (readonly number[])[]): number[][] | null {
  const size = rows.length;
  const wide = rows.map((row, i) => [
    ...row,
    ...Array.from({length: size}, (_, j) => Number(i === j)),
  ]);
  for (let column = 0; column < size; column++) {
    const pivot = wide.findIndex((row, i) => i >= column && row[column] !== 0);
    if (pivot < 0) return null;
    [wide[column], wide[pivot]] = [wide[pivot]!, wide[column]!];
    const lead = wide[column]!;
    const scale = reciprocal(lead[column]!);
    for (let j = 0; j < lead.length; j++) lead[j] = multiply(lead[j]!, scale);
    for (let i = 0; i < size; i++) {
      const factor = wide[i]![column]!;
      if (i === column || factor === 0) continue;
      for (let j = 0; j < lead.length; j++) wide[i]![j]! ^= multiply(factor, lead[j]!);
    }
  }
  return wide.map((row) => row.slice(size));
}
