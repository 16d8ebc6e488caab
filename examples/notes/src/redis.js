'use strict';

// As much of Redis' protocol as the notes need: a connection a command.

const net = require('node:net');

/** The value at the start of a text and what follows it; nothing while it is not complete. */
function parse(text) {
  const end = text.indexOf('\r\n');
  if (end < 0) return undefined;
  const [kind, head, rest] = [text[0], text.slice(1, end), text.slice(end + 2)];
  if (kind === '$') {
    const length = Number(head);
    if (length < 0) return [null, rest];
    return rest.length < length + 2 ? undefined : [rest.slice(0, length), rest.slice(length + 2)];
  }
  if (kind === '*') {
    const items = [];
    let left = rest;
    for (let number = Number(head); number > 0; number -= 1) {
      const parsed = parse(left);
      if (!parsed) return undefined;
      items.push(parsed[0]);
      left = parsed[1];
    }
    return [items, left];
  }
  if (kind === '-') return [new Error(head), rest];
  return [kind === ':' ? Number(head) : head, rest];
}

function call(...words) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(6379, process.env.REDIS_HOST ?? 'localhost');
    let text = '';
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the store has gone')));
    socket.on('data', (data) => {
      // Bytes as characters: lengths count bytes.
      text += data.toString('latin1');
      const parsed = parse(text);
      if (!parsed) return;
      const value = parsed[0];
      if (value instanceof Error) reject(value);
      else resolve(decoded(value));
      socket.destroy();
    });
    const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
    socket.write(`*${words.length}\r\n${parts.join('')}`);
  });
}

function decoded(value) {
  if (Array.isArray(value)) return value.map(decoded);
  return typeof value === 'string' ? Buffer.from(value, 'latin1').toString() : value;
}

module.exports = { call };
