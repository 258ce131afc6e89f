/** Whether an object has been seen, and how often: a bit each, and a number for the few that were seen more than once. */
export class Counts {
  readonly #pages = new Map<number, Uint8Array>();
  readonly #more = new Map<number, number>();

  get(oid: number): number {
    const more = this.#more.get(oid);
    if (more !== undefined) return more;
    const page = this.#pages.get(Math.floor(oid / PAGE_OIDS));
    const bit = oid % PAGE_OIDS;
    return page !== undefined && (page[bit >> 3]! & (1 << (bit & 7))) !== 0 ? 1 : 0;
  }

  add(oid: number): void {
    const before = this.get(oid);
    if (before > 0) {
      this.#more.set(oid, before + 1);
      return;
    }
    const number = Math.floor(oid / PAGE_OIDS);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_OIDS / 8);
      this.#pages.set(number, page);
    }
    const bit = oid % PAGE_OIDS;
    page[bit >> 3]! |= 1 << (bit & 7);
  }
}

const PAGE_OIDS = 8192;
