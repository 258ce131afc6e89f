/** Readers together, writers alone, in the order in which they came. Holds no resource; `run` never loses a turn. */
export class Turns {
  #readers = 0;
  #writing = false;
  readonly #queue: {write: boolean; go: () => void}[] = [];

  async read<T>(work: () => Promise<T>): Promise<T> {
    if (this.#writing || this.#queue.length > 0) await this.#wait(false);
    else this.#readers++;
    try {
      return await work();
    } finally {
      this.#readers--;
      this.#next();
    }
  }

  async write<T>(work: () => Promise<T>): Promise<T> {
    if (this.#writing || this.#readers > 0 || this.#queue.length > 0) await this.#wait(true);
    else this.#writing = true;
    try {
      return await work();
    } finally {
      this.#writing = false;
      this.#next();
    }
  }

  get idle(): boolean {
    return !this.#writing && this.#readers === 0 && this.#queue.length === 0;
  }

  #wait(write: boolean): Promise<void> {
    return new Promise((go) => this.#queue.push({write, go}));
  }

  #next(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#writing || (first.write && this.#readers > 0)) return;
      this.#queue.shift();
      if (first.write) this.#writing = true;
      else this.#readers++;
      first.go();
    }
  }
}
