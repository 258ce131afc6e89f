import type {Report} from './report.js';

export async function checkOffline(_state: string, _report: Report): Promise<void> {}
