import type {DiskAction, SimDisk} from './disk.js';
import type {SeededRandom} from './random.js';

const SPOILT_READS: ReadonlySet<DiskAction> = new Set(['read']);
const SPOILT: ReadonlySet<DiskAction> = new Set(['read', 'write', 'sync']);

/** The disk cannot read columns (or only one of them), or do anything with it, until its `fault` is another one. */
export function spoil(
  disk: SimDisk,
  what: 'reads' | 'all',
  one: boolean,
  random: SeededRandom,
): void {
  const columns = disk.paths.filter((path) => path.startsWith('columns/'));
  const only = one && columns.length > 0 ? random.pick(columns) : null;
  disk.fault = (action, path) =>
    path.startsWith('columns/') &&
    (only === null || path === only) &&
    (what === 'all' ? SPOILT : SPOILT_READS).has(action)
      ? 'EIO'
      : null;
}
