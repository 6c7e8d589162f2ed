require('./phase.js')('main');
