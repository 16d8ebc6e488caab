'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { Counter } = require('counter');

test('counts by name', () => {
  const counter = new Counter();
  counter.add('b');
  counter.add('a');
  assert.strictEqual(counter.add('b'), 2);
  assert.deepStrictEqual(counter.all(), { a: 1, b: 2 });
});
