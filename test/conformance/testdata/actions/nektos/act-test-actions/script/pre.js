require('./phase.js')('pre');
