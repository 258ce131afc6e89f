export type Severity = 'error' | 'warning' | 'note';

interface Meaning {
  readonly severity: Severity;
  /** What is so, in a few words. */
  readonly title: string;
  readonly means: string;
  readonly risk: string;
  readonly act: string;
}

/** What `cpfs health` can say. Codes are given once and keep their meaning. docs/health.md is printed from this. */
export const CODES = {
  'CPFS-1001': {
    severity: 'warning',
    title: 'a data server is away',
    means:
      'It has a slot of a group and does not answer: its process or its machine is down, or the network between is. Programs go on: what it has is computed from the others.',
    risk: 'One redundancy less for everything in its group, until it is back and has caught up, or another one has its place.',
    act: "Start it again: it gets only what it missed. If its disk is gone, 'cpfs data replace SERVER' gives its slot to a server that was started with --spare; after the time in 'cpfs status' that happens by itself.",
  },
  'CPFS-1002': {
    severity: 'warning',
    title: 'a group bears no more loss',
    means:
      'As many servers of it are away, or rebuild what they lack, as its least protected files bear.',
    risk: 'Nothing is lost now. If one more of its servers is lost, what has the least redundancy cannot be read until one is back; and is gone if their disks are.',
    act: "Stop no other server of this group ('cpfs ok-to-stop' says so, too). Bring back those that are away.",
  },
  'CPFS-1003': {
    severity: 'error',
    title: 'a group has failed',
    means: 'More of its servers are away than its redundancy makes up for.',
    risk: 'Files in it cannot be written, and most cannot be read: programs get EIO after 20 s to 30 s, or wait with -o on-failure=wait. What was synced is still on the disks of those that are away.',
    act: 'Start the servers that are away, with their folders. Replace none of them before: what only they have would be lost.',
  },
  'CPFS-1004': {
    severity: 'note',
    title: 'a data server rebuilds what it lacks',
    means:
      'It is back, or took the place of another one, and gets from the others what it has not.',
    risk: 'Until it has everything it counts as lost for what it still lacks.',
    act: "Wait; 'cpfs recovery status' shows how far it is. 'cpfs recovery set --rate' makes it faster.",
  },
  'CPFS-1005': {
    severity: 'warning',
    title: 'recoveries are paused',
    means: 'An administrator has paused them, and some server lacks something.',
    risk: 'Redundancy does not come back as long as that is so.',
    act: "'cpfs recovery resume'.",
  },
  'CPFS-1006': {
    severity: 'note',
    title: 'a group lacks servers to begin with',
    means: 'It is being created: not every slot has a server yet.',
    risk: 'None: nothing is stored in it before it is complete.',
    act: "Start data servers with its --group, until 'cpfs group list' shows it ready.",
  },
  'CPFS-1007': {
    severity: 'note',
    title: 'servers are away by intent',
    means: "An administrator has said so with 'cpfs maintenance start'.",
    risk: 'Nobody takes the place of these servers as long as that is so: redundancy that lacks because of them comes back only with them.',
    act: "Start them again; then, or if they will not come back, 'cpfs maintenance stop'. It ends by itself, too.",
  },
  'CPFS-1008': {
    severity: 'warning',
    title: 'the cluster has been shut down',
    means:
      "'cpfs cluster shutdown' has stopped it, or is about to; or its meta server is back, and waits for data servers that were there.",
    risk: 'None: everything was written to disks before. Programs wait, and get EIO after some time.',
    act: "Start the servers that it waits for; 'cpfs cluster start' shows them, and with --now does without them, or takes a shutdown back.",
  },
  'CPFS-1101': {
    severity: 'warning',
    title: 'a data server is nearly full',
    means: 'Less than a tenth of its disk is free.',
    risk: 'When it is full programs that write new data into its group get ENOSPC.',
    act: "Remove files, or add a group ('cpfs data start --group N' on new servers) and move files to it with 'cpfs rebalance'.",
  },
  'CPFS-1102': {
    severity: 'error',
    title: 'a data server is full',
    means: 'Less than a fiftieth of its disk is free.',
    risk: 'Programs that write new data into its group get ENOSPC. Reading and removing work.',
    act: "Remove files, or what else lies on its disk; then 'cpfs rebalance' to a new group.",
  },
  'CPFS-1103': {
    severity: 'warning',
    title: 'bad blocks were found',
    means:
      'Blocks on a disk did not have their sums, were made again from the others, and are whole.',
    risk: 'None for these. A disk that goes on like this is about to fail.',
    act: "Look at the disk (smartctl, dmesg), and at 'cpfs scrub status'. 'cpfs data drain SERVER' moves everything off it.",
  },
  'CPFS-1104': {
    severity: 'error',
    title: 'blocks are lost',
    means: 'A scrub found blocks of files that nothing is left to make again from.',
    risk: 'Reads of these blocks are EIO. All else is whole.',
    act: "'cpfs scrub status' names the files: restore them from a backup, or remove them.",
  },
  'CPFS-1105': {
    severity: 'note',
    title: 'scrubs are paused',
    means: 'An administrator has paused them.',
    risk: 'What rots on a disk is found only when somebody reads it.',
    act: "'cpfs scrub resume'.",
  },
  'CPFS-1201': {
    severity: 'warning',
    title: 'a client is silent and holds something',
    means:
      'Its mount has not been heard of for 15 s or more, and others may wait for what it holds.',
    risk: 'Programs that want the same files wait, until it is heard of or its session ends by itself.',
    act: "Look at its machine. 'cpfs client evict N' ends it: what it has not written back is lost then.",
  },
  'CPFS-1301': {
    severity: 'warning',
    title: 'a meta server is away, or behind',
    means:
      'One of the meta servers that were named does not answer, or has not everything that the active one has.',
    risk: 'If the active one is lost now, this one cannot take over.',
    act: "'cpfs meta status' says why. Start it again: it catches up by itself.",
  },
  'CPFS-1302': {
    severity: 'warning',
    title: 'the coordinator does not answer',
    means: 'The etcd that decides which meta server is active cannot be reached by some of them.',
    risk: 'docs/coordinator.md: the active one goes on for a while or for as long as its standbys agree; nobody takes over without it.',
    act: 'Bring the etcd back.',
  },
  'CPFS-1303': {
    severity: 'error',
    title: 'no meta server is active',
    means: 'None of those that were named answers, or none is allowed to be the active one.',
    risk: 'The file system waits: names cannot be looked up, files cannot be opened. Nothing that was synced is lost.',
    act: "'cpfs meta status' says why; start a meta server. If all their folders are lost: 'cpfs meta restore', or 'cpfs meta rebuild'.",
  },
} as const satisfies Record<`CPFS-${number}`, Meaning>;

export type Code = keyof typeof CODES;

/** null: there is no such code. `1001` is CPFS-1001. */
export function meaningOf(text: string): ({code: Code} & Meaning) | null {
  const code = (/^\d+$/.test(text) ? `CPFS-${text}` : text.toUpperCase()) as Code;
  return Object.hasOwn(CODES, code) ? {code, ...CODES[code]} : null;
}

export function healthDocument(): string {
  const rows = (Object.keys(CODES) as Code[]).flatMap((code) => {
    const {severity, title, means, risk, act} = CODES[code];
    return [
      `## ${code}: ${title}`,
      '',
      `*${severity}*`,
      '',
      means,
      '',
      `**At risk:** ${risk}`,
      '',
      `**To do:** ${act}`,
      '',
    ];
  });
  return [
    '# What `cpfs health` says',
    '',
    'Printed from `src/roles/health/codes.ts`; do not edit (`test/tidy/health-doc.test.ts` compares, and rewrites it when',
    '`CPFS_REWRITE=1`). `cpfs explain CODE` prints the same. Codes are given once and keep their meaning. `error`: something does not work, or is',
    'lost; `warning`: less is borne than should be; `note`: nothing needs to be done.',
    '',
    ...rows,
  ]
    .join('\n')
    .replace(/\n+$/, '\n');
}
