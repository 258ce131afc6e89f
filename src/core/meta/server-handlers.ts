import {FsError} from '../base/errors.js';
import {ROOT_OID} from '../base/ids.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import {inodesOf, namesOf} from './audit.js';
import type {Backups} from './backups.js';
import type {DataPeer} from './cluster.js';
import {sees} from './confine.js';
import type {Asker, Deeds} from './deeds.js';
import type {Events} from './events.js';
import {leasesOf, locksOf} from './holdings.js';
import type {Life} from './life.js';
import type {Parts} from './parts.js';
import {scrub} from './scrub.js';
import {existence, fixed} from './session-handlers.js';
import type {Upgrades} from './upgrades.js';

/** What a data server may ask over its own connection; its recovery agent is a client with a connection of its own. */
export function dataHandlers(parts: Parts): Handlers<DataPeer> {
  const {cluster} = parts;
  return new Handlers<DataPeer>()
    .on(OPS.heartbeat, (request, server) => {
      const copies = parts.readCopies.heartbeat(server, request);
      parts.figures.server(server.uuid, request);
      return {message: {...cluster.heartbeat(server, request), ...copies}};
    })
    .on(OPS.getMap, () => ({message: {map: cluster.durableMap, ...fixed(parts)}}))
    .on(OPS.recovered, (request, server) => {
      cluster.recovered(server, request);
      return {message: {}};
    })
    .on(OPS.copied, (request, server) => {
      cluster.copied(server, request);
      return {message: {}};
    })
    .on(OPS.exists, async ({oids}) => ({message: await existence(parts, oids)}))
    .on(OPS.allow, (request) => ({message: allowed(parts, request)}))
    .on(OPS.status, () => ({message: parts.status()}));
}

/** What the credential of a session may touch: nothing, when it is another one's. */
function allowed(parts: Parts, {session: id, name, oids}: wire.AllowRequest): wire.AllowReply {
  if (oids.length > ALLOW_MAX) throw new FsError('EINVAL', `${oids.length} objects`);
  const session = parts.sessions.get(id);
  const known = session?.owner === name || session?.owner === null;
  if (session === undefined || !known) return {known: false, allowed: []};
  return {known, allowed: oids.filter((oid) => sees(parts.machine, session, oid))};
}

const ALLOW_MAX = 1024;

/** `cpfs status` and its like: they have no session. A layout that is set twice is set once. */
export function adminHandlers(
  parts: Parts,
  events: Events,
  deeds: Deeds,
  backups: Backups,
  upgrades: Upgrades,
  life: Life,
): Handlers<Asker> {
  const {cluster, machine} = parts;
  return new Handlers<Asker>(deeds.guard())
    .on(OPS.deeds, async (request) => ({message: await deeds.read(request)}))
    .on(OPS.heartbeat, () => ({message: {epoch: cluster.control.publishedEpoch}}))
    .on(OPS.backup, async (request) => ({message: await backups.begin(request)}))
    .on(OPS.backupRead, (request) => backups.read(request))
    .on(OPS.upgrade, async ({finalize}) => {
      if (finalize) await upgrades.finalize();
      return {message: upgrades.report()};
    })
    .on(OPS.life, async (request) => ({message: await life.answer(request)}))
    .on(OPS.moves, async (request) => ({message: await parts.moves.administer(request)}))
    .on(OPS.scrub, async (request) => ({message: await scrub(parts, request)}))
    .on(OPS.getMap, async () => ({message: {map: await cluster.publishedMap(), ...fixed(parts)}}))
    .on(OPS.status, () => ({message: parts.status()}))
    .on(OPS.events, async (request) => ({message: await events.read(request)}))
    .on(OPS.leases, (request) => ({message: leasesOf(parts, request)}))
    .on(OPS.locks, async (request) => ({message: await locksOf(parts, request)}))
    .on(OPS.evict, async ({session: id}) => {
      const session = parts.sessions.get(id);
      if (session === undefined) throw new FsError('ENOENT', `session ${id}`);
      await parts.evict(session);
      return {message: {}};
    })
    .on(OPS.layoutGet, (request) => ({message: machine.query(OPS.layoutGet, request)}))
    .on(OPS.layoutSet, async (request) => {
      // Who holds the directory makes files in it by what it knows of its layout.
      const submit = () => machine.submit(OPS.layoutSet, {session: 0, requestId: 0, request});
      const {reply} = await parts.leases.exclusive(request.oid, submit);
      return {message: reply};
    })
    .on(OPS.inodes, (request) => ({message: inodesOf(machine, request)}))
    .on(OPS.names, (request) => ({message: namesOf(machine, request)}))
    .on(OPS.mend, async (request) => {
      const submit = () => machine.submit(OPS.mend, {session: 0, requestId: 0, request});
      // Whoever caches what is mended must forget it: a file's attributes come with its directory.
      const {oid} = request;
      const named = machine.read((tx) => tx.parentOf(oid));
      const inRoot = request.name.length === 0 && request.links === 0;
      const directory = inRoot ? ROOT_OID : request.name.length > 0 ? request.parent : named;
      const run = () =>
        request.oid === 0 ? submit() : parts.leases.exclusive(request.oid, submit);
      if (directory === 0) await run();
      else await parts.leases.exclusive(directory, run);
      await machine.sync();
      return {message: {}};
    })
    .on(OPS.readCopies, async ({policy, oid}) => {
      if (policy !== null) await cluster.changeReadCopies(policy);
      const copies = oid === 0 ? [] : parts.readCopies.of(oid);
      const servers = parts.readCopies.figures();
      return {message: {policy: cluster.readCopyPolicy, servers, copies}};
    })
    .on(OPS.recovery, async (request) => {
      await cluster.changeRecovery(request);
      return {message: {}};
    })
    .on(OPS.replace, async ({group, slot, server, sure}) => {
      await cluster.administer((seating) => seating.replace(group, slot, server, sure));
      return {message: {}};
    })
    .on(OPS.drain, async ({group, slot, server, stop}) => {
      await cluster.administer((seating) =>
        stop ? seating.undrain(group, slot) : seating.drain(group, slot, server),
      );
      return {message: {}};
    })
    .on(OPS.groupCreate, async ({id, slots}) => ({
      message: {id: await cluster.administer((seating) => seating.createGroup(id, slots))},
    }))
    .on(OPS.groupRemove, async ({id}) => {
      await cluster.administer((seating) => seating.removeGroup(id));
      return {message: {}};
    })
    .on(OPS.syncMeta, async () => {
      await machine.sync();
      return {message: {}};
    });
}
