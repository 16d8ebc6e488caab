'use strict';

const http = require('node:http');
const { Counter } = require('counter');

const counter = new Counter();
const port = Number(process.env.PORT ?? 3000);

const server = http.createServer((request, response) => {
  const name = new URL(request.url, 'http://localhost').pathname.slice(1);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(name ? { [name]: counter.add(name) } : counter.all()));
});

process.on('SIGINT', () => server.close(() => process.exit(0)));
server.listen(port, () => console.log(`listening on ${port}`));
