import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A secret's prefix and first six characters: its hint, which may be stored and shown. */
const HINT_CHARACTERS = 9

/** What no file may hold, under a name that may be printed. */
export type Secrets = ReadonlyMap<string, string>

/** The files under a directory that hold this text. */
export function filesWith(directory: string, text: string): string[] {
  const wanted = Buffer.from(text)
  return filesUnder(directory).filter((file) => readFileSync(file).includes(wanted))
}

/** Where secrets can be read under these directories, `<name> in <file>`. */
export function leaksInto(directories: readonly string[], secrets: Secrets): string[] {
  return directories.flatMap(filesUnder).flatMap((file) => {
    const bytes = readFileSync(file)
    return namesIn((text) => bytes.includes(Buffer.from(text)), secrets).map(
      (name) => `${name} in ${file}`,
    )
  })
}

/** The names of the secrets that can be read in a text. */
export function leaksIntoText(text: string, secrets: Secrets): string[] {
  return namesIn((part) => text.includes(part), secrets)
}

/** Who holds a whole secret holds what follows its hint: one search finds both. */
function namesIn(holds: (text: string) => boolean, secrets: Secrets): string[] {
  return [...secrets].filter(([, secret]) => holds(tailOf(secret))).map(([name]) => name)
}

function tailOf(secret: string): string {
  const tail = secret.slice(HINT_CHARACTERS)
  if (tail.length < HINT_CHARACTERS) throw new Error('too short to be searched for')
  return tail
}

function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
