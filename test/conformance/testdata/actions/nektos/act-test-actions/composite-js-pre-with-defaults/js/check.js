const { INPUT_PRE, INPUT_IN } = process.env;
if (INPUT_PRE !== 'true') throw new Error(`input pre is ${JSON.stringify(INPUT_PRE)}, not its default`);
if (!INPUT_IN) throw new Error('input in is empty');
