'use strict';

const fs = require('node:fs');
const http = require('node:http');
const { call } = require('./redis');

const limit = Number(process.env.NOTES_PER_LIST ?? 100);

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text.trim();
}

async function answer(request) {
  const list = `notes:${new URL(request.url, 'http://localhost').pathname.slice(1)}`;
  if (request.url === '/') return `${process.env.GREETING}\n`;
  if (request.method === 'POST') {
    await call('RPUSH', list, await body(request));
    await call('LTRIM', list, -limit, -1);
  }
  const notes = await call('LRANGE', list, 0, -1);
  return notes.map((note) => `${note}\n`).join('');
}

const server = http.createServer((request, response) => {
  answer(request)
    .catch((error) => {
      response.statusCode = 503;
      return `${error.message}\n`;
    })
    .then((text) => response.end(text));
});

async function main() {
  const first = fs.readFileSync('/seed/first.txt', 'utf8').trim();
  if (await call('SETNX', 'seeded', '1')) await call('RPUSH', 'notes:list', first);
  server.listen(3000, () => console.log('listening on 3000'));
}

process.on('SIGTERM', () => process.exit(0));
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
