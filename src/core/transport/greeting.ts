import {FsError, Refusal} from '../base/errors.js';
import {type Release, THIS_RELEASE} from '../base/features.js';
import type {HelloReply, HelloRequest} from '../protocol/gen/wire.js';
import {type AnyOp, PROTOCOL_OLDEST, PROTOCOL_VERSION} from '../protocol/ops.js';

const FEATURES_MAX = 1000;

/** What the two ends of a connection know of each other's releases: said with the hello, whoever says it. */
export class Greeting {
  readonly own: Release;
  #theirs: Release | null = null;
  /** What both speak. */
  #version = 0;

  constructor(own: Release = THIS_RELEASE) {
    this.own = own;
  }

  /** Null: there was no hello yet. */
  get theirs(): Release | null {
    return this.#theirs;
  }

  /** Both releases have it. */
  knows({since}: Pick<AnyOp, 'since'>): boolean {
    return since === null || (this.#has(since) && this.#theirs?.features.includes(since) === true);
  }

  /** Null: it may be sent. */
  refusal(op: Pick<AnyOp, 'since' | 'name'>): FsError | null {
    if (this.knows(op)) return null;
    const {name} = this.#theirs ?? {name: ''};
    const release = name === '' ? 'an older release' : `release ${name}`;
    return new FsError(
      'EOPNOTSUPP',
      `${op.name}: the other side is of ${release}: upgrade it first`,
    );
  }

  #has(feature: string): boolean {
    return this.own.features.includes(feature);
  }

  get introduction(): Partial<HelloRequest> {
    return {
      versionMin: PROTOCOL_OLDEST,
      versionMax: PROTOCOL_VERSION,
      release: this.own.name,
      features: [...this.own.features],
    };
  }

  /** Somebody has introduced himself. Throws Refusal WrongVersion. */
  met({versionMin, versionMax, release, features}: HelloRequest): void {
    if (versionMax < PROTOCOL_OLDEST || versionMin > PROTOCOL_VERSION)
      throw new Refusal(
        'WrongVersion',
        `this side speaks protocol ${PROTOCOL_OLDEST} to ${PROTOCOL_VERSION}, the other ` +
          `one (${release === '' ? 'of an older release' : `release ${release}`}) ${versionMin} to ${versionMax}: upgrade the older one`,
      );
    if (features.length > FEATURES_MAX)
      throw new Refusal('OutOfState', `${features.length} features`);
    this.#theirs = {name: release, features};
    this.#version = Math.min(PROTOCOL_VERSION, versionMax);
  }

  /** What is added to the answer; after `met`. */
  get answer(): Partial<HelloReply> {
    const {name, features} = this.own;
    return {version: this.#version, release: name, features: [...features]};
  }

  /** What an introduction was answered with. Throws Refusal WrongVersion. */
  answered({version, release, features}: HelloReply): void {
    if (version < PROTOCOL_OLDEST || version > PROTOCOL_VERSION)
      throw new Refusal('WrongVersion', `the other side speaks protocol ${version}`);
    this.#theirs = {name: release, features: features.slice(0, FEATURES_MAX)};
  }
}
