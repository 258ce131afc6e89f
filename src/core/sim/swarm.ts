import type {Durability} from '../base/durability.js';
import type {Ms} from '../base/ids.js';
import {KIB} from '../base/units.js';
import type {ReadCopyPolicy} from '../cluster/read-copies.js';
import {formatScheme, type Scheme} from '../layout/scheme.js';
import {CALM_DISK, type DiskShape} from './disk.js';
import {CALM_NETWORK, type NetworkShape} from './network.js';
import {SeededRandom} from './random.js';
import type {WorkloadShape} from './workload.js';

/** What may go wrong in a world. All are promised to be survived; at most m servers suffer at a time. */
export const FAULTS = [
  'data-kill',
  'data-power',
  'data-freeze',
  'data-wipe',
  'data-all',
  'data-eio',
  'meta-kill',
  'meta-power',
  'all-power',
  'client-kill',
  'client-freeze',
  'partition',
  'reset',
  'flip',
] as const;
/** Of worlds with several meta servers. */
export const META_FAULTS = ['meta-freeze', 'meta-cut', 'coordinator-away'] as const;
export type FaultKind = (typeof FAULTS)[number] | (typeof META_FAULTS)[number];

/** Everything that a seed decides. */
export interface WorldShape {
  seed: number;
  scheme: Scheme;
  servers: number;
  /** Servers that wait for the slot of one that is away for `outAfterMs`. */
  spares: number;
  outAfterMs: Ms;
  /** Healthy servers are drained to a spare now and then. */
  drains: boolean;
  clients: number;
  unitBytes: number;
  chunkBytes: number;
  dirtyBytesMax: number;
  inlineBytesMax: number;
  /** Clients tell their changes of names later. */
  writeback: boolean;
  /** What clients keep of what they read and write, as `-o cache` of a mount. */
  cache: 'full' | 'attr' | 'none';
  /** Files are opened for reading now and then, and each such open brings leases of those that come next. */
  openAhead: boolean;
  network: NetworkShape;
  disk: DiskShape;
  /** Wall clocks differ by up to this, and rates by up to `driftMax`. */
  skewMsMax: Ms;
  driftMax: number;
  workload: WorkloadShape;
  faults: readonly FaultKind[];
  /** Disks are full for a while now and then. */
  fulls: boolean;
  /** Chunks that are read get read copies. */
  readCopies: boolean;
  /** Meta servers, and a coordinator if there are several; no seed draws it. Default: 1. */
  metas?: number;
  /** Of several meta servers; no seed draws it. Default: both. */
  durability?: Durability;
  /** Who recovers is hit again, and recovery waits now and then, so that others are lost meanwhile; no seed draws it. */
  seconds?: boolean;
  /** Servers go through their columns while all this happens. */
  scrubs: boolean;
  /** Objects are moved to other layouts while programs use them. */
  moves: boolean;
  /** They are copied slowly, in small steps, and in rounds. */
  slowMoves: boolean;
  /** Mean time between two faults. */
  faultGapMs: Ms;
  /** A bug of ours on purpose, to see that it is found. */
  sabotage?: 'redundancy' | 'recall';
}

const SCHEMES: readonly (Scheme & {servers: number})[] = [
  {k: 4, m: 1, servers: 5},
  {k: 4, m: 1, servers: 5},
  {k: 4, m: 2, servers: 6},
  {k: 1, m: 1, servers: 2},
  {k: 1, m: 2, servers: 3},
  {k: 2, m: 1, servers: 3},
  {k: 2, m: 1, servers: 4},
];

const CACHES = ['full', 'full', 'full', 'full', 'full', 'attr', 'none'] as const;

/** Draws a world. In half of them each kind of fault is switched off, so that the rest meets more often. */
export function swarm(seed: number): WorldShape {
  const r = new SeededRandom(seed).split('swarm');
  const {servers, ...scheme} = r.pick(SCHEMES);
  const unitBytes = r.pick([4, 4, 8, 16]) * KIB;
  const stripeBytes = unitBytes * scheme.k;
  const chunkBytes = stripeBytes * r.range(1, 4);
  const rough = r.chance(0.5);
  const faulty = r.chance(0.85);
  const faults = FAULTS.filter(() => faulty && r.chance(0.5));
  const shape: WorldShape = {
    seed,
    scheme,
    servers,
    spares: 0,
    outAfterMs: 0,
    drains: false,
    clients: r.chance(0.8) ? 2 : 1,
    unitBytes,
    chunkBytes,
    dirtyBytesMax: r.pick([256, 1024, 8192]) * KIB,
    network: {
      ...CALM_NETWORK,
      latencyMax: r.pick([0.3, 1, 5]),
      spikeChance: rough ? r.float() * 0.05 : 0,
      spikeMs: r.pick([20, 200]),
      resetChance: faults.includes('reset') ? r.float() * 0.003 : 0,
    },
    disk: {...CALM_DISK, latencyMax: r.pick([0.2, 2, 10]), writeBackChance: r.float() * 0.3},
    skewMsMax: r.chance(0.5) ? 0 : 5000,
    driftMax: r.chance(0.5) ? 0 : 0.02,
    workload: {
      threads: r.range(1, 2),
      stories: r.range(3, 6),
      fileBytesMax: Math.min(200 * KIB, r.range(1, 3) * chunkBytes),
      writeBytesMax: Math.min(64 * KIB, r.pick([1, 2, 3]) * stripeBytes),
      sharedChance: r.pick([0, 0.3, 0.6, 0.9]),
      namesChance: r.pick([0.1, 0.3, 0.5]),
      pauseMs: r.pick([2, 100, 1000, 3000]),
      locksChance: 0,
      piecesChance: 0,
      busyChance: 0,
    },
    faults,
    scrubs: false,
    moves: false,
    slowMoves: false,
    fulls: false,
    readCopies: false,
    faultGapMs: r.pick([300, 1500, 5000]),
    inlineBytesMax: r.pick([0, 4, 16, 64]) * KIB,
    writeback: true,
    openAhead: false,
    cache: 'full',
  };
  // From a stream of their own: they came later, and other worlds stay what they were.
  const locksChance = new SeededRandom(seed).split('locks').pick([0, 0, 0.3, 0.7]);
  // Others use the disks, too: now and then a sync takes long.
  const slow = r.chance(0.25) ? {slowSyncChance: 0.05, slowSyncMs: r.pick([200, 2000])} : {};
  // A power cut takes from the meta server what it was asked for and had not synced, and not what clients still keep: the
  // model has no word for such a mixture.
  const cut = faults.includes('meta-power') || faults.includes('all-power');
  const writeback = r.chance(0.9) && !cut;
  const piecesChance = new SeededRandom(seed).split('pieces').pick([0, 0, 0.4, 0.8]);
  const openAhead = new SeededRandom(seed).split('ahead').chance(0.4);
  const scrubs = new SeededRandom(seed).split('scrubs').chance(0.3);
  const moves = new SeededRandom(seed).split('moves').chance(0.4);
  const slowMoves = moves && new SeededRandom(seed).split('slow moves').chance(0.6);
  const fulls = faulty && new SeededRandom(seed).split('fulls').chance(0.2);
  // Among many programs, or where writes may fail half way, what a busy file may hold is too much to be told apart.
  const few = shape.clients * shape.workload.threads <= 2;
  const fails = faults.includes('client-kill') || fulls;
  const busyChance = slowMoves && few && !fails ? 0.8 : 0;
  const workload = {...shape.workload, locksChance, piecesChance, busyChance};
  const cache = new SeededRandom(seed).split('cache').pick(CACHES);
  const spares = new SeededRandom(seed).split('spares');
  return {
    ...shape,
    workload,
    writeback: writeback && cache !== 'none',
    openAhead,
    scrubs,
    moves,
    slowMoves,
    fulls,
    readCopies: new SeededRandom(seed).split('read copies').chance(0.3),
    cache,
    spares: spares.pick([0, 0, 0, 1]),
    outAfterMs: spares.pick([1000, 4000, 10_000]),
    drains: faulty && spares.chance(0.6),
    disk: {...shape.disk, ...slow},
  };
}

/** So that some are made in a world, which is over soon. */
export const readCopyPolicy = ({readCopies}: WorldShape): ReadCopyPolicy => ({
  most: readCopies ? 2 : 0,
  weight: 1,
  afterS: 1,
  share: 300,
  coldS: 5,
});

/** The world of a seed with servers that are hit again while they recover, and a spare that takes the slot of who is away. */
export function secondFailures(seed: number): WorldShape {
  const drawn = swarm(seed);
  return {
    ...drawn,
    seconds: true,
    faults: ['data-kill', 'data-power', 'data-wipe', 'data-freeze', 'data-all', 'meta-kill'],
    network: {...drawn.network, resetChance: 0},
    spares: 1,
    outAfterMs: 1000,
    drains: true,
    fulls: false,
    faultGapMs: 500,
    // Long enough for several losses.
    workload: {...drawn.workload, stories: 8, pauseMs: 3000},
  };
}

/** The world of a seed with several meta servers, which are hit again and again. */
export function severalMetas(seed: number): WorldShape {
  const drawn = swarm(seed);
  const r = new SeededRandom(seed).split('metas');
  const own = (['meta-kill', 'meta-power', ...META_FAULTS] as const).filter(() => r.chance(0.7));
  const others = drawn.faults.filter((kind) => !kind.startsWith('meta-') && r.chance(0.3));
  const faults = [...others, ...own, ...own];
  const cut = faults.includes('meta-power') || faults.includes('all-power');
  return {
    ...drawn,
    metas: r.pick([2, 2, 3]),
    faults,
    network: {
      ...drawn.network,
      resetChance: others.includes('reset') ? drawn.network.resetChance : 0,
    },
    writeback: drawn.writeback && !cut,
    fulls: false,
    // Long enough for several reigns.
    faultGapMs: r.pick([500, 2000]),
    workload: {...drawn.workload, stories: 10, pauseMs: 5000},
  };
}

/** One line for people. */
export function showShape(shape: WorldShape): string {
  const {scheme, servers, clients, unitBytes, chunkBytes, inlineBytesMax, workload, faults} = shape;
  const {slowSyncChance, slowSyncMs} = shape.disk;
  const kept = shape.cache === 'full' ? '' : `, cache ${shape.cache}`;
  const through = `${kept}${shape.writeback ? '' : ', no write-back'}`;
  const scrubs = shape.scrubs ? ', scrubs' : '';
  const moves = shape.moves ? `, ${shape.slowMoves ? 'slow ' : ''}moves` : '';
  const durability = shape.durability === undefined ? '' : ` (${shape.durability})`;
  const metas = (shape.metas ?? 1) > 1 ? `, ${shape.metas} meta servers${durability}` : '';
  const fulls = shape.fulls ? ', full disks' : '';
  const copies = shape.readCopies ? ', read copies' : '';
  const seconds = shape.seconds === true ? ', second failures' : '';
  const disk = slowSyncChance > 0 ? `, syncs up to ${slowSyncMs} ms` : '';
  const waiting = shape.spares === 0 ? '' : ` and ${shape.spares}${shape.drains ? ' drained' : ''}`;
  return (
    `${formatScheme(scheme)} on ${servers}${waiting}, ${clients} clients x ${workload.threads} programs x ${workload.stories} stories, ` +
    `unit ${unitBytes}, chunk ${chunkBytes}, inline ${inlineBytesMax}${through}${disk}${scrubs}${moves}${fulls}${copies}${seconds}${metas}, faults: ${faults.join(' ') || 'none'}`
  );
}
