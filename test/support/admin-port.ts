import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {DevCluster} from './dev-cluster.js';

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Where the newest process of a dev cluster with this log (`meta1`, `data2`, `mount`) tells of itself. */
export function adminPort(cluster: DevCluster, log: string): string {
  const lines = readFileSync(join(cluster.state, 'log', `${log}.log`), 'utf8').split('\n');
  const last = lines.filter((line) => line.includes('"admin.ready"')).at(-1)!;
  return (JSON.parse(last) as {address: string}).address;
}

export async function ask(
  address: string,
  path: string,
  method = 'GET',
): Promise<{status: number; text: string}> {
  const response = await fetch(`http://${address}${path}`, {method});
  return {status: response.status, text: await response.text()};
}

/** The lines of `/metrics`; throws for one that is none. */
export function parseMetrics(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match === null) throw new Error(`no sample: ${line}`);
      const labels = [...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
      return {
        name: match[1]!,
        labels: Object.fromEntries(labels.map(([, label, value]) => [label!, value!])),
        value: Number(match[3]),
      };
    });
}

export const scrape = async (address: string): Promise<Sample[]> =>
  parseMetrics((await ask(address, '/metrics')).text);

/** Sum of the samples of a name whose labels have these values. */
export const sumOf = (
  samples: readonly Sample[],
  name: string,
  labels: Record<string, string> = {},
): number =>
  samples
    .filter((one) => one.name === name)
    .filter((one) => Object.entries(labels).every(([label, value]) => one.labels[label] === value))
    .reduce((sum, {value}) => sum + value, 0);
