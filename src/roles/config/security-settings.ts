/** What the settings of a command say of keys and levels: roles/security.ts goes by it. */
export interface SecuritySettings {
  keys: string | undefined;
  level: string | undefined;
}

let known: SecuritySettings | null = null;

export function useSecurity(settings: SecuritySettings): void {
  known = settings;
}

/** Without a command only the environment counts. */
export const securitySettings = (): SecuritySettings =>
  known ?? {keys: process.env.CPFS_KEYS, level: process.env.CPFS_SECURITY};
