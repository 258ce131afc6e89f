import type {ActiveServer, Member} from '../base/coordinator-keys.js';
import type {Disk} from '../env/disk.js';
import type {Candidate, OwnReign, Succession, Verdict} from './succession.js';

const PATH = 'promoted';
/** A server that another one was promoted over counts its own terms on by one at each start. */
const TERMS = 1_000;

/** What the file of a promoted server says. */
interface Promotion {
  /** Whom it followed when it was promoted. */
  over: string;
}

/**
 * Who is active where there is no coordinator: the one that is joined, until an administrator promotes this one (`cpfs meta promote`).
 * That stays so through restarts; who is told to join another one follows that one.
 */
export class Appointment implements Succession {
  readonly how = 'by hand';
  readonly #disk: Disk;
  readonly #join: string;
  readonly #self: Member;
  #promoted: boolean;

  private constructor(disk: Disk, join: string, self: Member, promoted: boolean) {
    this.#disk = disk;
    this.#join = join;
    this.#self = self;
    this.#promoted = promoted;
  }

  /** `join`: where the active one is (base/meta-names.ts). */
  static async open(disk: Disk, join: string, self: Member): Promise<Appointment> {
    const found = await disk.readFile(PATH);
    const before =
      found === null ? null : (JSON.parse(Buffer.from(found).toString('utf8')) as Promotion);
    return new Appointment(disk, join, self, before?.over === join);
  }

  active(): Promise<ActiveServer | null> {
    return Promise.resolve(this.#promoted ? null : {term: 0, node: '', address: this.#join});
  }

  async campaign({term, acceptLoss}: Candidate): Promise<Verdict> {
    const again = this.#promoted;
    if (!again && !acceptLoss) return {why: `${this.#join} is active`};
    if (!again) {
      const promotion: Promotion = {over: this.#join};
      await this.#disk.writeFile(PATH, Buffer.from(JSON.stringify(promotion)));
      this.#promoted = true;
    }
    const reign: OwnReign = {
      term: term + (again ? 1 : TERMS),
      self: this.#self,
      valid: true,
      whole: false,
      set: {change: () => Promise.resolve()},
      onDeposed: () => {},
      deposed: () => {},
      end: () => Promise.resolve(),
    };
    return {reign};
  }

  close(): void {}
}
