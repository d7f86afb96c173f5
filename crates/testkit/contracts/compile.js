// Compiles Solidity with npm's solc, which is a compiler in WebAssembly: node compile.js SOLJSON < input > output.
// Input and output are solc's standard JSON. Every source is in the input: nothing is looked up.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const soljson = require(path.resolve(process.argv[2]));
const input = fs.readFileSync(0, 'utf8');
const run = () => {
  const compile = soljson.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);
  fs.writeSync(1, compile(input, 0, 0));
};
// Some builds are ready when they are loaded, others say so later.
if (soljson.calledRun) run();
else soljson.onRuntimeInitialized = run;
