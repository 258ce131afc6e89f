import {FsError, messageOf} from '../base/errors.js';
import {type Identity, isRights, JOIN_ROLES, NAME, type Token} from '../base/identity.js';
import type {Env} from '../env/env.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import type {Asker, Deeds} from './deeds.js';
import {INTERNAL} from './internal-ops.js';
import type {Machine} from './machine.js';
import {type TokenRow, tokenRows} from './token-ops.js';

/** What only who has the keys of the cluster can do. */
export interface Joining {
  /** What a token proves itself by; its secret follows from it. */
  identity(token: Token): string;
  /** The file of keys of a node that joins; `name` as it calls itself. Throws FsError. */
  keys(token: wire.TokenRequest, name: string): string;
}

const ID_BYTES = 6;
const USES_MAX = 10_000;
const LASTS_SECONDS_MAX = 366 * 86_400;
const NO_KEYS =
  "this cluster has no keys: make them with 'cpfs init', and copy them to its servers";

/** Tokens that make a machine a node. What is left of them is in the log, so that each is good for as often as was said, whichever meta server is asked. */
export class Tokens {
  readonly #env: Pick<Env, 'clock' | 'log' | 'random'>;
  readonly #machine: Machine;
  readonly #joining: Joining | null;

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'random'>,
    machine: Machine,
    joining: Joining | null,
  ) {
    this.#env = env;
    this.#machine = machine;
    this.#joining = joining;
  }

  /** For administrators; that who makes one has a key of the cluster, the rights say. */
  handlers(on: Handlers<Asker>): Handlers<Asker> {
    return on
      .on(OPS.tokenCreate, async (request) => ({message: await this.#create(request)}))
      .on(OPS.tokens, () => ({message: {tokens: this.#all().map((row) => this.#info(row))}}))
      .on(OPS.tokenRevoke, async ({id}) => {
        const row = this.#all().find((one) => one.id === id);
        if (row === undefined) throw new FsError('ENOENT', `there is no token ${id}`);
        await this.#machine.keep(INTERNAL.tokenPut, {...row, revoked: true});
        await this.#machine.sync();
        return {message: {}};
      });
  }

  /** For who has proved to have one. */
  joinHandlers(deeds: Deeds): Handlers<Asker & {identity: Identity | null}> {
    return new Handlers<Asker & {identity: Identity | null}>().on(
      OPS.join,
      async (request, asker) => {
        const said = {name: request.name.slice(0, 64)};
        try {
          const keys = await this.#join(said.name, asker.identity);
          deeds.record(asker, OPS.join.name, said, 'ok');
          return {message: {keys}};
        } catch (error) {
          const {who, from} = asker;
          const reason = messageOf(error);
          this.#env.log.warn('token.refused', {peer: from, name: who, reason});
          throw error;
        }
      },
    );
  }

  #all(): TokenRow[] {
    return this.#machine.audit(tokenRows);
  }

  #info(row: TokenRow): wire.TokenInfo {
    return {...row, identity: ''};
  }

  async #create(token: wire.TokenRequest): Promise<wire.TokenInfo> {
    const joining = this.#joining;
    if (joining === null) throw new FsError('EOPNOTSUPP', NO_KEYS);
    const role = JOIN_ROLES.find((one) => one === token.role);
    const now = this.#env.clock.wall() / 1000;
    if (role === undefined) throw new FsError('EINVAL', `a node is ${JOIN_ROLES.join(', ')}`);
    if (token.uses < 1 || token.uses > USES_MAX) throw new FsError('EINVAL', `${token.uses} uses`);
    if (token.until <= now || token.until > now + LASTS_SECONDS_MAX)
      throw new FsError('EINVAL', 'it lasts a moment, and a year at most');
    if (
      role === 'client' &&
      !(isRights(token.rights) && (token.name === '' || NAME.test(token.name)))
    )
      throw new FsError('EINVAL', 'the name or the rights of its clients');
    // What cannot be issued is found now, and not by who joins.
    joining.keys(token, 'none');
    const id = this.#env.random.hex(ID_BYTES);
    const row: TokenRow = {id, token, used: 0, revoked: false};
    await this.#machine.keep(INTERNAL.tokenPut, row);
    await this.#machine.sync();
    return {...this.#info(row), identity: joining.identity({id, role, until: token.until})};
  }

  async #join(name: string, identity: Identity | null): Promise<string> {
    if (this.#joining === null || identity?.kind !== 'token')
      throw new FsError('EACCES', 'who joins shows a token');
    const {id} = identity;
    const row = this.#all().find((one) => one.id === id);
    if (row === undefined) throw new FsError('EACCES', `there is no token ${id}`);
    const keys = this.#joining.keys(row.token, name);
    // Before anybody hears of it: who comes with the same one later finds it used, whatever happens to this machine.
    await this.#machine.keep(INTERNAL.tokenUse, {id});
    await this.#machine.sync();
    return keys;
  }
}
