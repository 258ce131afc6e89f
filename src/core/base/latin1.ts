/** Bytes as the string that stands for them in keys and caches: a character for each byte; and back. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
export const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1');
