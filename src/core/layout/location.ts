const labels = (location: string): string[] => location.split('/').filter((part) => part !== '');

/** How many labels of two locations (`room1/rack3/host7`) are the same, from the left. */
export function inCommon(one: string, other: string): number {
  const a = labels(one);
  const b = labels(other);
  let common = 0;
  while (common < a.length && a[common] === b[common]) common++;
  return common;
}
