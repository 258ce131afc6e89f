import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {CacheOwner, Client} from '../client/api.js';
import type {Clock} from '../env/clock.js';
import type {Attr} from '../protocol/gen/wire.js';

interface KeptName {
  oid: number;
  until: Ms;
}

interface KeptAttr {
  attr: Attr;
  under: number;
  until: Ms;
}

/** Changes of a client's own, after which its kernel asks again; where in their arguments the objects are that they touch. */
const CHANGES = new Map<keyof Client, readonly number[]>([
  ['create', [0]],
  ['mkdir', [0]],
  ['mknod', [0]],
  ['symlink', [0]],
  ['link', [0, 1]],
  ['unlink', [0]],
  ['rmdir', [0]],
  ['rename', [0, 2]],
  ['setattr', [0]],
  ['open', [0]],
  ['write', [0]],
  ['setxattr', [0]],
  ['removexattr', [0]],
  ['layoutSet', [0]],
]);

/**
 * Stands for the kernel of a mount: keeps names and attributes for exactly as long as the client allows it, so that worlds
 * find an answer that was allowed for too long, or taken back too late.
 */
export class KernelCache implements CacheOwner {
  readonly #clock: Clock;
  readonly #names = new Map<string, KeptName>();
  readonly #attrs = new Map<number, KeptAttr>();
  /** Of the client's own changes: under way, and begun or ended so far. */
  #changes = 0;
  #turns = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  invalidate(oid: number): Promise<void> {
    this.#names.clear();
    for (const [file, {under}] of this.#attrs) if (under === oid) this.#attrs.delete(file);
    return Promise.resolve();
  }

  fenced(): void {
    this.#clear();
  }

  voidNames(): Promise<void> {
    this.#clear();
    return Promise.resolve();
  }

  /** The client as programs see it through this kernel. */
  over(client: Client): Client {
    const through: Client = Object.create(client, {});
    through.lookup = (parent, name) => this.#lookup(client, parent, name);
    through.getattr = (oid) => this.#getattr(client, oid);
    for (const [name, places] of CHANGES) {
      const change = client[name] as (...a: unknown[]) => Promise<unknown>;
      const around = async (...a: unknown[]): Promise<unknown> => {
        this.#changes++;
        this.#turns++;
        try {
          return await change.apply(client, a);
        } finally {
          this.#changes--;
          this.#turns++;
          for (const place of places) this.#touched(a[place] as number);
        }
      };
      Object.defineProperty(through, name, {value: around});
    }
    return through;
  }

  /** What a change of this object, or in this directory, may have made wrong. */
  #touched(oid: number): void {
    for (const key of this.#names.keys()) if (key.startsWith(`${oid}/`)) this.#names.delete(key);
    for (const [file, {under}] of this.#attrs) {
      if (file === oid || under === oid) this.#attrs.delete(file);
    }
  }

  #clear(): void {
    this.#names.clear();
    this.#attrs.clear();
  }

  async #lookup(client: Client, parent: number, name: Uint8Array): Promise<Attr> {
    const key = `${parent}/${Buffer.from(name).toString('latin1')}`;
    const kept = this.#names.get(key);
    if (kept !== undefined && kept.until > this.#clock.now()) {
      if (kept.oid === 0) throw new FsError('ENOENT');
      const before = this.#turns;
      const attr = await this.#getattr(client, kept.oid);
      // A kernel does look at the name first and at the attributes then; the model knows a lookup as one step only.
      if (before === this.#turns && this.#names.get(key) === kept) return attr;
    }
    const turn = this.#turns;
    const keep = (oid: number): void => {
      const ms = client.nameValid(parent, name, oid);
      if (ms > 0 && this.#changes === 0 && turn === this.#turns)
        this.#names.set(key, {oid, until: this.#clock.now() + ms});
    };
    try {
      const attr = await client.lookup(parent, name);
      keep(attr.oid);
      this.#keep(client, attr, turn);
      return attr;
    } catch (error) {
      if (error instanceof FsError && error.errno === 'ENOENT') keep(0);
      throw error;
    }
  }

  async #getattr(client: Client, oid: number): Promise<Attr> {
    const kept = this.#attrs.get(oid);
    if (kept !== undefined && kept.until > this.#clock.now()) {
      return kept.attr;
    }
    const turn = this.#turns;
    const attr = await client.getattr(oid);
    this.#keep(client, attr, turn);
    return attr;
  }

  #keep(client: Client, attr: Attr, turn: number): void {
    const {ms, under} = client.attrValid(attr.oid);
    if (ms > 0 && this.#changes === 0 && turn === this.#turns)
      this.#attrs.set(attr.oid, {attr, under, until: this.#clock.now() + ms});
  }
}
