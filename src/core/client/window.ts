/** So many bytes (or slots) may be under way at once; further ones wait in order. */
export class Window {
  readonly #bytesMax: number;
  #bytes = 0;
  #waiting: {bytes: number; wake: () => void}[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Resolves when there is room; what is larger than the window goes alone. */
  async enter(bytes: number): Promise<void> {
    if (this.#waiting.length > 0 || !this.#fits(bytes))
      await new Promise<void>((wake) => this.#waiting.push({bytes, wake}));
    else this.#bytes += bytes;
  }

  leave(bytes: number): void {
    this.#bytes -= bytes;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#fits(next.bytes)) return;
      this.#waiting.shift();
      this.#bytes += next.bytes;
      next.wake();
    }
  }

  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax;
  }
}
