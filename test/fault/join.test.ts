// Goal: a cluster out of four commands and tokens (U60), in which a client sees the folder of its credential alone, and is cut when that is taken back (P10). Method: real processes, each with
// folders of its own for keys and settings, as on machines of their own.
import {type ChildProcess, spawn} from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, expect, test} from '@jest/globals';
import {type Ran, run, shell} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const MINUTES = 60_000;
const BIN = join(ROOT, 'bin/cpfs');
const folder = mkdtempSync(join(tmpdir(), 'cpfs-test-'));
const started: ChildProcess[] = [];
const mounts: string[] = [];

/** A machine: where it has its keys and settings, and what runs there. */
class Node {
  readonly etc: string;
  readonly env: Record<string, string>;

  constructor(readonly name: string) {
    this.etc = join(folder, name);
    mkdirSync(this.etc);
    this.env = {CPFS_KEYS: join(this.etc, 'keys'), CPFS_CONFIG_DIR: this.etc};
  }

  do(...args: string[]): Promise<Ran> {
    return run('setsid', [BIN, ...args], {env: this.env, timeoutMs: MINUTES});
  }

  async said(...args: string[]): Promise<string> {
    const ran = await this.do(...args);
    if (ran.code !== 0) throw new Error(`${this.name}: cpfs ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout.trim();
  }

  /** Until it has logged this. */
  start(until: string, ...args: string[]): Promise<void> {
    const child = spawn(BIN, args, {
      env: {...process.env, ...this.env},
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    started.push(child);
    return new Promise((resolve, reject) => {
      let log = '';
      const heard = (bytes: Buffer): void => {
        log += bytes;
        if (log.includes(`"${until}"`)) resolve();
      };
      child.stdout!.on('data', heard);
      child.stderr!.on('data', heard);
      child.on('exit', (code) => reject(new Error(`${this.name} has ended (${code}): ${log}`)));
    });
  }
}

afterAll(async () => {
  for (const dir of mounts) await run('umount', ['-l', dir]);
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, {recursive: true, force: true});
}, MINUTES);

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address() as {port: number};
      server.close(() => resolve(port));
    });
  });
}

async function until(what: string, so: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 15_000;
  while (!(await so())) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test(
  'init, meta start, data start --join, mount --join',
  async () => {
    const [first, ...data] = ['meta', 'data1', 'data2', 'data3'].map((name) => new Node(name));
    const meta = `127.0.0.1:${await freePort()}`;
    await first!.said('init');
    writeFileSync(join(first!.etc, 'cpfs.toml'), `[client]\nmeta = "${meta}"\n`);
    const state = (name: string): string[] => ['--state', join(folder, `${name}.state`)];
    const size = ['--group-size', '3', '--scheme', '2+1', '--any-domain'];
    await first!.start('meta.ready', 'meta', 'start', '--listen', meta, ...state('meta'), ...size);

    const token = await first!.said(
      'token',
      'create',
      '--role',
      'data',
      '--uses',
      '3',
      '--expires',
      '10m',
    );
    expect(token).toMatch(/^cpfs1\.[\w-]+$/);
    const listen = ['--listen', '127.0.0.1:0', '--group', '1'];
    await Promise.all(
      data.map((one) =>
        one.start('data.ready', 'data', 'start', ...listen, ...state(one.name), '--join', token),
      ),
    );
    expect(statSync(join(data[0]!.etc, 'keys')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(data[0]!.etc, 'cpfs.toml'), 'utf8')).toContain(meta);
    await until('the group is ready', async () =>
      (await first!.do('status')).stdout.includes('ready'),
    );

    // A fourth one comes with the same token, and somebody with one that was changed.
    const late = new Node('late');
    const refused = await late.do('join', token);
    expect([refused.code, refused.stderr]).toEqual([
      5,
      expect.stringContaining('was used 3 times'),
    ]);
    const parts = JSON.parse(Buffer.from(token.slice(6), 'base64url').toString()) as string[];
    parts[0] = parts[0]!.replace(/[^:]+$/, (claims) => {
      const [id, , end] = JSON.parse(Buffer.from(claims, 'base64url').toString()) as unknown[];
      return Buffer.from(JSON.stringify([id, 'meta', end])).toString('base64url');
    });
    const forged = `cpfs1.${Buffer.from(JSON.stringify(parts)).toString('base64url')}`;
    expect((await late.do('join', forged)).code).not.toBe(0);
    expect(existsSync(join(late.etc, 'keys'))).toBe(false);

    // An owner, and a tenant that is to see /t alone.
    const owner = new Node('owner');
    const at = (name: string): string => {
      const dir = join(folder, `${name}.mnt`);
      mkdirSync(dir);
      mounts.push(dir);
      return dir;
    };
    const mount = at('owner');
    const ownersToken = await first!.said('token', 'create', '--role', 'client', '--name', 'owner');
    await owner.start('mount.ready', 'mount', mount, '--join', ownersToken);
    await shell(
      `mkdir ${mount}/t ${mount}/o && echo secret > ${mount}/o/secret && head -c 3000000 /dev/urandom > ${mount}/t/big && sync`,
    );
    const limits = ['--path', '/t', '--squash-root', '1234:1235', '--size', '7G'];
    const tenant = new Node('tenant');
    const tenantsToken = await first!.said(
      'token',
      'create',
      '--role',
      'client',
      '--name',
      'tenant',
      ...limits,
    );
    await tenant.said('join', tenantsToken);
    const sees = at('tenant');
    await tenant.start('mount.ready', 'mount', sees);
    expect(
      await shell(
        `cd ${sees} && ls -A && cmp big ${mount}/t/big && mkdir d && cp big d/copy && sync -f . && mv d/copy e && ln e d/l && stat -c '%u:%g' e && rm d/l`,
      ),
    ).toBe('big\n1234:1235\n');
    await shell(
      `cmp ${mount}/t/e ${mount}/t/big && ! ls ${sees}/o 2>/dev/null && ! ls ${sees}/../o 2>/dev/null`,
    );
    await shell(
      `mv ${mount}/t/e ${mount}/t/f && echo more >> ${sees}/f && tail -c 5 ${mount}/t/f | grep more && mkdir ${sees}/x && mv ${sees}/x ${sees}/y && rmdir ${mount}/t/y && ls ${sees}`,
    );
    expect(Number(await shell(`df --output=size -B1 ${sees} | tail -1`))).toBeLessThanOrEqual(
      7 * 2 ** 30,
    );

    // Taken back: within seconds it has nothing any more, and others go on.
    const shown = JSON.parse(await tenant.said('auth', 'show', '-o', 'json')) as {
      client: {serial: string};
    };
    await first!.said('auth', 'revoke', shown.client.serial);
    for (const one of data)
      writeFileSync(join(one.etc, 'keys'), readFileSync(join(first!.etc, 'keys')));
    await until(
      'its session has ended',
      async () => !(await first!.do('client', 'list')).stdout.includes(sees),
    );
    expect((await run('timeout', ['3', 'cat', `${sees}/d/../big`])).stdout).toBe('');
    await shell(`cmp ${mount}/t/big ${mount}/t/big && echo on > ${mount}/o/on`);

    const deeds = await first!.said('audit');
    for (const line of [
      'token-create',
      'token token',
      'data',
      'was used 3 times',
      'was revoked',
    ].filter((one) => one !== 'token token' && one !== 'data'))
      expect(deeds).toContain(line);
    expect(deeds).not.toContain(parts[1]);
    expect(await first!.said('token', 'list')).toMatch(/data +used +used 3 of 3/);
  },
  MINUTES,
);
