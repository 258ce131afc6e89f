import type {ClusterMap, ServerInfo} from '../cluster/map.js';
import type * as wire from '../protocol/gen/wire.js';

/** As messages have it. */
export const toServer = (server: ServerInfo): wire.Server => ({
  domain: '',
  location: '',
  left: 0,
  recoveryRate: 0,
  givesWay: false,
  recoveryS: 0,
  ...server,
});

export function mapToWire(map: ClusterMap): wire.ClusterMap {
  return {
    cluster: map.cluster,
    epoch: map.epoch,
    groups: map.groups.map(({id, state, slots}) => ({
      id,
      state,
      slots: slots.map(
        ({since = 0, wholeAt = 0, lostAt = 0, madeAt = 0, successor = '', server, ...slot}) => ({
          ...slot,
          server: server === null ? null : toServer(server),
          since,
          wholeAt,
          lostAt,
          madeAt,
          successor,
        }),
      ),
    })),
    fenced: [...map.fenced],
  };
}
