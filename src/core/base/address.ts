export interface HostPort {
  host: string;
  /** 0 to 65535; 0 asks for a free one and is for listening only. */
  port: number;
}

/** Parts of `host:port` or `[v6]:port`; null if it is neither. */
export function parseAddress(address: string): HostPort | null {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(address);
  if (match === null) return null;
  const port = Number(match[3]);
  const host = match[1] ?? match[2]!;
  return port <= 65_535 ? {host, port} : null;
}

/** The inverse of `parseAddress`: a host with a colon in it is an IPv6 address and is put in brackets. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
