import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'

export type ProcessEntry = {
  readonly pid: number
  readonly parent: number
  readonly group: number
  readonly name: string
}

/** All descendants of a process and all members of the group that it leads, itself included. */
export function familyOf(leader: number): ProcessEntry[] {
  const all = listProcesses()
  const family = new Set([leader])
  for (let size = 0; size < family.size;) {
    size = family.size
    for (const { pid, parent, group } of all) {
      if (group === leader || family.has(parent)) family.add(pid)
    }
  }
  return all.filter(({ pid }) => family.has(pid))
}

/** Which of these still run, and which others of the leader's family came since. */
export function survivorsOf(leader: number, known: readonly ProcessEntry[]): ProcessEntry[] {
  const isKnown = (entry: ProcessEntry) =>
    known.some(({ pid, name }) => pid === entry.pid && name === entry.name)
  return listProcesses().filter((entry) => entry.group === leader || isKnown(entry))
}

/** Every process that has not ended: one that only waits for its parent to notice has. */
function listProcesses(): ProcessEntry[] {
  return existsSync('/proc/self/stat') ? listProc() : listPs()
}

function listProc(): ProcessEntry[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  return pids.flatMap((pid) => parseEntry(readStat(pid), /^(\d+) \((.*)\) (\S+) (\d+) (\d+) /s))
}

function readStat(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    // It ended meanwhile.
    return ''
  }
}

function listPs(): ProcessEntry[] {
  const listed = execFileSync('ps', ['-A', '-o', 'pid=,comm=,stat=,ppid=,pgid='], {
    encoding: 'utf8',
  })
  return listed
    .split('\n')
    .flatMap((line) => parseEntry(line, /^\s*(\d+)\s+(.*?)\s+(\S+)\s+(\d+)\s+(\d+)\s*$/))
}

/** The groups of the pattern: pid, name, state, parent, process group. */
function parseEntry(text: string, pattern: RegExp): ProcessEntry[] {
  const [, pid, name = '', state = '', parent, group] = pattern.exec(text) ?? []
  if (pid === undefined || state.startsWith('Z')) return []
  return [{ pid: Number(pid), parent: Number(parent), group: Number(group), name }]
}
