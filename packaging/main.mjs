// Makes the executable and packages of it; see package.sh.
import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, statSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {parseArgs} from 'node:util';
import {readChangelog} from './changelog.mjs';
import {makeDeb} from './deb.mjs';
import {makeExecutable} from './executable.mjs';
import {makeRpm} from './rpm.mjs';
import {stage} from './stage.mjs';
import {dist, PACKAGE, root} from './tree.mjs';

const MADE_BY = {deb: makeDeb, rpm: makeRpm};

/** Seconds since 1970 that all files and packages are said to be of, so that the same sources make the same bytes. */
function sourceDate() {
  const given = process.env.SOURCE_DATE_EPOCH ?? '';
  if (/^\d+$/.test(given)) return Number(given);
  try {
    const git = ['-C', root, 'log', '-1', '--format=%ct'];
    return Number(
      execFileSync('git', git, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']}),
    );
  } catch {
    const [{date}] = readChangelog(readFileSync(join(root, 'packaging/changelog'), 'utf8'));
    return Date.parse(date) / 1000;
  }
}

async function main() {
  const {values, positionals} = parseArgs({
    allowPositionals: true,
    options: {
      release: {type: 'string', default: PACKAGE.version},
      out: {type: 'string', default: dist},
    },
  });
  const names = ['executable', ...Object.keys(MADE_BY)];
  const wanted = positionals.length === 0 ? names : positionals;
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown !== undefined || !/^\d+\.\d+\.\d+$/.test(values.release)) {
    process.stderr.write(
      `usage: package [${names.join('] [')}] [--release X.Y.Z] [--out FOLDER]\n`,
    );
    process.exitCode = 2;
    return;
  }
  const out = resolve(values.out);
  const work = join(out, `.package-${process.pid}`);
  mkdirSync(work, {recursive: true});
  try {
    const date = sourceDate();
    process.env.SOURCE_DATE_EPOCH = String(date);
    const executable = join(out, 'cpfs');
    const version = values.release;
    const metafile = await makeExecutable({
      output: executable,
      version,
      work: join(work, 'executable'),
    });
    for (const [family, make] of Object.entries(MADE_BY)) {
      if (!wanted.includes(family)) continue;
      const files = join(work, family);
      await stage({files, family, executable, metafile, version, date});
      const made = make({files, work, out, version, date});
      process.stderr.write(`${made}: ${(statSync(made).size / 1e6).toFixed(1)} MB\n`);
    }
  } finally {
    rmSync(work, {recursive: true, force: true});
  }
}

await main();
