/** Letters that must be put in, taken out or changed (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({length: b.length + 1}, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The name that is most like `given`; of several the first. */
export function nearest(given: string, names: readonly string[]): string {
  const text = given.slice(0, 100);
  let best = {name: names[0]!, far: Number.POSITIVE_INFINITY};
  for (const name of names) {
    const far = distance(text, name);
    if (far < best.far) best = {name, far};
  }
  return best.name;
}
