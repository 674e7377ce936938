import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findFreePort } from './dev-server.ts'
import { makeFolder, type ProxyKind, startProxy, type Surroundings } from './proxies.ts'

/** Says what PHP reads of the request's head, and nothing of the environment. */
const SCRIPT = `<?php
header('Content-Type: application/json');
$isOfRequest = fn($name) => str_starts_with($name, 'HTTP_') || $name === 'REQUEST_METHOD';
echo json_encode(array_filter($_SERVER, $isOfRequest, ARRAY_FILTER_USE_KEY));`

export const PHP = {
  isInstalled: spawnSync('php-cgi', ['-v']).status === 0,
  install: 'apt-get install --yes php-cgi',
} as const

/** An API in PHP, which is spoken to by FastCGI. */
export type PhpApi = {
  readonly folder: string
  /** `host:port` */
  readonly address: string
  readonly stop: () => Promise<void>
}

export async function startPhp(): Promise<PhpApi> {
  const port = await findFreePort()
  const folder = makeFolder()
  writeFileSync(join(folder, 'index.php'), SCRIPT)
  const address = `127.0.0.1:${port}`
  // By itself it ends after 500 requests, and serves one connection at a time.
  const settings = ['PHP_FCGI_MAX_REQUESTS=0', 'PHP_FCGI_CHILDREN=4']
  const stop = await startProxy('env', [...settings, 'php-cgi', '-b', address], port, folder)
  return { folder, address, stop }
}

/** What makes a proxy's file speak FastCGI with the API. */
export function replacementsFor(
  name: ProxyKind['name'],
  { folder, address }: PhpApi,
): NonNullable<Surroundings['replacements']> {
  switch (name) {
    case 'nginx':
      return [
        [
          'proxy_pass http://api;',
          `include /etc/nginx/fastcgi_params;
           fastcgi_param SCRIPT_FILENAME ${folder}/index.php;
           fastcgi_pass api;`,
        ],
        ...['DEVICE_ID', 'DEVICE_NAME', 'OWNER_ID', 'KEY_ID', 'DEVICE_SCOPES'].map(
          (field) =>
            [`# fastcgi_param HTTP_X_${field} `, `fastcgi_param HTTP_X_${field} `] as const,
        ),
      ]
    case 'caddy':
      return [[`reverse_proxy ${address}`, `root * ${folder}\n php_fastcgi ${address}`]]
    case 'haproxy':
      return [
        ['frontend api', `fcgi-app php\n  docroot ${folder}\n  index index.php\nfrontend api`],
        [`server api ${address}`, `use-fcgi-app php\n    server api ${address} proto fcgi`],
      ]
  }
}
