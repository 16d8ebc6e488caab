'use strict';

/** Counts by name. */
class Counter {
  #counts = new Map();

  add(name) {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    return count;
  }

  all() {
    return Object.fromEntries([...this.#counts].sort());
  }
}

module.exports = { Counter };
