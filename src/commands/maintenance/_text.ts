import type {MaintenanceStatus} from '../../roles/life.js';

export function maintenanceText({maintenance}: MaintenanceStatus): string {
  if (maintenance === null) return 'no maintenance';
  const {servers, secondsLeft, why} = maintenance;
  const who = servers.length === 0 ? 'all servers' : servers.join(', ');
  const minutes = Math.ceil(secondsLeft / 60);
  return `maintenance of ${who} for ${minutes} min yet${why === '' ? '' : `: ${why}`}`;
}
