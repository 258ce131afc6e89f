// Generates src/core/protocol/gen from src/core/protocol/*.proto and copies the JavaScript to dist:
//   messages.js  pbjs's static codecs (numbers, not Long: every 64-bit field of ours is below 2^53)
//   wire.js      for each message {encode, decode, check}; `check` says why a peer's message is none of ours:
//                a 64-bit number beyond 2^53, or a nested message that is not marked `optional` and is missing
//   wire.d.ts    plain interfaces of the messages
import {spawnSync} from 'node:child_process';
import {copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import protobuf from 'protobufjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const protocol = join(root, 'src/core/protocol');
const generated = join(protocol, 'gen');
const compiled = join(root, 'dist/src/core/protocol/gen');
mkdirSync(generated, {recursive: true});
mkdirSync(compiled, {recursive: true});

const sources = readdirSync(protocol)
  .filter((name) => name.endsWith('.proto'))
  .map((name) => join(protocol, name));
const flags =
  '-t static-module -w es6 --es6 --force-number --no-create --no-verify --no-convert --no-delimited --no-service --no-typeurl --no-comments';
const result = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/protobufjs-cli/bin/pbjs'),
    ...flags.split(' '),
    '-o',
    join(generated, 'messages.js'),
    ...sources,
  ],
  {stdio: ['ignore', 'inherit', 'inherit']},
);
if (result.status !== 0) process.exit(result.status ?? 1);

// --force-number is about types only: while the package `long` can be found, the reader gives Long objects.
const codecs = join(generated, 'messages.js');
const load = 'import $protobuf from "protobufjs/minimal.js";\n';
const text = readFileSync(codecs, 'utf8');
if (!text.includes(load)) throw new Error('messages.js does not load protobufjs as expected');
writeFileSync(
  codecs,
  withOwnFields(
    text.replace(load, () => `${load}\n$protobuf.util.Long = null;\n$protobuf.configure();\n`),
  ),
);

/**
 * pbjs keeps the defaults on the prototype, where `{...message}` does not find them: a copy of an attribute with
 * nlink 0 would have none. So constructors set them.
 */
function withOwnFields(code) {
  const fields = new Map();
  for (const [, type, field, value] of code.matchAll(/^ +(\w+)\.prototype\.(\w+) = (.*);$/gm)) {
    if (value.includes('emptyArray')) continue;
    fields.set(type, `${fields.get(type) ?? ''} this.${field} = ${type}.prototype.${field};`);
  }
  const made = code.replaceAll(/^ +const (\w+) = function \(properties\) \{$/gm, (line, type) => {
    const own = fields.get(type) ?? '';
    fields.delete(type);
    return line + own;
  });
  if (fields.size > 0) throw new Error(`messages.js has no constructor of ${[...fields.keys()]}`);
  return made;
}

const schema = await new protobuf.Root().load(sources);
schema.resolveAll();
const messages = schema.lookup('cpfs').nestedArray.filter((type) => type instanceof protobuf.Type);

const scalar = {string: 'string', bytes: 'Uint8Array', bool: 'boolean'};
const isMessage = (field) => field.resolvedType instanceof protobuf.Type;
const isOptional = (field) => field.options?.proto3_optional === true;

function typeOf(field) {
  const base = isMessage(field) ? field.resolvedType.name : (scalar[field.type] ?? 'number');
  if (field.repeated) return `${base}[]`;
  return isMessage(field) && isOptional(field) ? `${base} | null` : base;
}

function checkOf(type) {
  const lines = [];
  for (const field of type.fieldsArray) {
    const name = protobuf.util.camelCase(field.name);
    if (field.type === 'uint64') {
      const test = (value) =>
        `if (!(${value} <= 9007199254740991)) return '${type.name}.${name} is beyond 2^53';`;
      lines.push(field.repeated ? `for (const x of m.${name}) ${test('x')}` : test(`m.${name}`));
    } else if (isMessage(field)) {
      const inner = `check.${field.resolvedType.name}`;
      const missing = `return '${type.name}.${name} is missing'`;
      if (field.repeated)
        lines.push(`for (const x of m.${name}) { const r = ${inner}(x); if (r) return r; }`);
      else if (isOptional(field))
        lines.push(`if (m.${name}) { const r = ${inner}(m.${name}); if (r) return r; }`);
      else
        lines.push(
          `if (!m.${name}) ${missing}; { const r = ${inner}(m.${name}); if (r) return r; }`,
        );
    }
  }
  return `check.${type.name} = (m) => { ${lines.join(' ')} return null; };`;
}

const wire = [
  "import {cpfs} from './messages.js';",
  'const check = {};',
  ...messages.map(checkOf),
  ...messages.map(
    (type) =>
      `export const ${type.name} = {name: '${type.name}', encode: (m) => cpfs.${type.name}.encode(m).finish(), decode: (b) => cpfs.${type.name}.decode(b), check: check.${type.name}};`,
  ),
];
const types = [
  '/** `decode` throws on bytes that are no such message; `check` gives the reason why a decoded one is refused. */',
  'export interface Codec<T> { readonly name: string; encode(message: Partial<T>): Uint8Array; decode(bytes: Uint8Array): T; check(message: T): string | null; }',
  ...messages.map((type) => {
    const fields = type.fieldsArray.map(
      (field) => `  ${protobuf.util.camelCase(field.name)}: ${typeOf(field)};`,
    );
    return `export interface ${type.name} {\n${fields.join('\n')}\n}\nexport const ${type.name}: Codec<${type.name}>;`;
  }),
];
writeFileSync(join(generated, 'wire.js'), `${wire.join('\n')}\n`);
writeFileSync(join(generated, 'wire.d.ts'), `${types.join('\n')}\n`);
for (const name of ['messages.js', 'wire.js'])
  copyFileSync(join(generated, name), join(compiled, name));
