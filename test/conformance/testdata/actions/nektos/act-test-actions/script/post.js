require('./phase.js')('post');
