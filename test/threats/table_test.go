package threats_test

// threats is the table. What it says is in docs/explanation/threats.md word for word.
func threats() []threat {
	return []threat{
		{
			Name:    "A change from a fork alters the pipeline to learn a secret",
			Control: "How far a run is trusted is found from where its commits lie, never from what a payload says. A fork's run gets no secret and does not start; a maintainer who approves it is told that it will get them. What follows an untrusted run is not trusted either.",
			Try:     forkAsksForSecrets,
			Rooms:   []string{"launch TestJudge TestFork TestForkElsewhere TestChainOfFork TestConfides"},
		},
		{
			Name:    "Script injection by the name of a branch, a title, a commit message",
			Control: "The server hands such texts to no shell: they are arguments after `--`, environment variables, and text on pages. `fairlead lint` reports expressions that put them into a script.",
			Try:     hostileNames,
			Rooms:   []string{"launch TestHostileNames TestMarkdownOfOthers", "dialect/github/builtin TestValuesCannotSpeakToTheRunner"},
			Open:    "a workflow that puts such an expression into its own script is run as it is written.",
		},
		{
			Name:    "A step prints a secret, encoded or in pieces",
			Control: "Values are masked before a line is stored: plain, base64 in all three alignments, hex, URL- and JSON-escaped, line by line, across writes.",
			Try:     secretIsPrinted,
			Rooms:   []string{"secret TestEveryEncoding TestEveryLine TestBrokenIntoLines TestNoSecretRemains", "cache TestSecretsAreNeverStored"},
			Open:    "where a step may connect to is seen and not limited.",
		},
		{
			Name:    "A job leaves a secret in a file that it keeps",
			Control: "An artifact is looked through for the values that its run knows when it is saved. Whoever downloads it, from the server, on the command line, or of a run that was pushed, gets texts with the values masked, in zip files too; a binary file that holds one is left alone, and the run's page says so. Jobs of the same run get the true bytes.",
			Try:     secretIsKept,
			Rooms:   []string{"depot TestConceal TestConcealZip TestConcealHostile", "server TestShownArtifacts TestPushShown", "crew TestArtifactsTravel"},
			Open:    "what is compressed inside an artifact (a tar.gz, a zip in a zip) is not looked into.",
		},
		{
			Name:    "A job learns the secrets of an environment that it does not name",
			Control: "They are opened when a job that names the environment begins, and are in its scope alone.",
			Rooms:   []string{"launch TestSecretsOfEnvironment TestSecretsOfRun", "secret TestResolve"},
		},
		{
			Name:    "A change from a fork declares databases whose commands, SQL or addresses do more than they should",
			Control: "Templates are filled outside of any step, a server of ours is shared by all jobs, and the address of a given one may hold a password: so a run of such a change is lent nothing, whatever `forks` says, until a maintainer has approved it. Its pages and its log say so. Addresses come from no variables but those that begin with `TEST_`.",
			Rooms:   []string{"launch TestForkGetsNoDatabases"},
		},
		{
			Name:    "The token of one run is read from the memory of another process",
			Control: "Steps are given only what they name. They run as the account that runs Fairlead: this is for trusted code.",
			Rooms:   []string{"executor/host TestLeaks TestInherit", "trace TestRefusedMemory"},
			Open:    "steps as another user, in a namespace of their own, come with containers.",
		},
		{
			Name:    "Poisoned cache: an untrusted run leaves what a trusted one reuses",
			Control: "What a run keeps for reuse is written to the scope of its ref or change; trusted runs never read what a change wrote. An incomplete observation is never reused.",
			Rooms:   []string{"launch TestScopes", "cache TestScopesHaveNamesOfTheirOwn TestDistrust TestCondemn"},
		},
		{
			Name:    "An artifact is altered, or replaced by another of its name",
			Control: "Files are kept under their digest, which is checked when they are given out: the last piece is sent only if all of it is right.",
			Rooms:   []string{"server TestArtifacts TestPush", "dialect/github/builtin TestDamagedDownload TestArtifactNameIsTakenByOne", "cache TestRestoreDamaged"},
		},
		{
			Name:    "Zip-slip: names in archives and uploads that lead elsewhere",
			Control: "One reader of archives that refuses what leads out, links that do, devices. The server unpacks nothing; names of jobs and artifacts never become paths as they are.",
			Try:     namesThatLeadElsewhere,
			Rooms:   []string{"depot TestHostileArchives TestHostileZips", "cache TestRestoreRefuses", "launch TestFileNames"},
		},
		{
			Name:    "Bombs: archives, YAML, JSON, XML that unfold without end",
			Control: "Limits on bytes, depth, aliases and counts before anything is unfolded; request bodies are not decompressed.",
			Try:     bombs,
			Rooms:   []string{"depot TestHostileArchives", "cache TestBombs", "dialect/github/workflow TestHostile TestLinkIsBounded", "project TestHostile", "harvest TestJUnitErrors"},
		},
		{
			Name:    "Patterns that take for ever",
			Control: "Go's regular expressions, which are linear. JavaScript's, for problem matchers, have a time limit.",
			Try:     endlessPatterns,
			Rooms:   []string{"dialect/github/protocol TestHostileMatcher"},
		},
		{
			Name:    "Forged, replayed and oversized hooks",
			Control: "The signature over the raw bytes is checked in constant time before anything is read of them; deliveries and bodies are taken once; bodies have a limit, and so have hooks in a second. An address that is none answers like one whose signature is wrong.",
			Try:     forgedHooks,
			Rooms:   []string{"server TestHook TestHookTooLarge TestHookStorm TestRates", "launch TestDelivery TestReplay TestOnce", "forge TestReceived"},
		},
		{
			Name:    "The server is made to ask an address inside (SSRF)",
			Control: "The address is checked when it is connected to, after names are resolved; private, loopback and link-local ones are refused unless allowed; redirects are not followed with credentials; tokens go to their own host alone.",
			Try:     addressesInside,
			Rooms:   []string{"forge TestGuard TestClientIsGuarded TestClientThroughAProxy TestRedirect", "workspace TestMirrorRefusesAddresses", "notify/webhook TestRedirect"},
		},
		{
			Name:    "Arguments that are options or programs to git",
			Control: "Addresses and refs are parsed, and refused when they could be taken for anything else; git gets them after `--`.",
			Try:     hostileArguments,
			Rooms:   []string{"workspace TestParseAddress TestSourcesTokenStaysOffTheCommandLine", "launch TestSetRepository"},
		},
		{
			Name:    "Workflow commands in output: variables of later steps are set by what is printed",
			Control: "`set-env` and `add-path` in output are off; only a step's own environment file sets variables for later ones.",
			Try:     printedCommands,
			Rooms:   []string{"dialect/github/protocol TestCommands TestSettings TestLimitsOfCommands"},
		},
		{
			Name:    "A worker that takes the jobs, or writes the logs, of others",
			Control: "A worker's token is good for a worker's addresses and nothing else; who asks is known by it, never by what is said.",
			Try:     workerAsksForMore,
			Rooms:   []string{"access TestWorkerToken TestRights", "crew TestStrangers TestSecretsOf TestToldTwice", "server TestWorkersAreHeardOverHTTP"},
		},
		{
			Name:    "A token of one repository is used for another",
			Control: "Every address takes a verb and an object; one table decides. What somebody may not see is answered like what is not there.",
			Try:     tokenOfAnother,
			Rooms:   []string{"server TestEveryRouteForEveryRole TestLists TestStreamShowsWhatMayBeSeen", "access TestDecideIsDeniedByDefault TestTokensOfOthers"},
		},
		{
			Name:    "A job breaks out of where it runs",
			Control: "Jobs run on the host as the account that runs Fairlead; a fork's wait for approval.",
			Rooms:   []string{"executor/host TestFits TestLimitsAreKeptOrRefused TestForgottenRoom"},
			Open:    "the executor that runs jobs in containers.",
		},
		{
			Name:    "Escape sequences in logs that act on a terminal or a page",
			Control: "Pages know colours and links to the web, and show the rest; the command line sanitizes all text that comes from outside.",
			Try:     hostileLog,
			Rooms:   []string{"server TestANSI TestHostileRun", "cli TestSanitize"},
		},
		{
			Name:    "Cross-site scripting by logs, names of tests, titles, artifacts",
			Control: "Templates escape by context; a strict content security policy without inline scripts; files are downloads of no type, in a sandbox.",
			Try:     scripts,
			Rooms:   []string{"server TestHostileViews TestHostileRun TestHeaders TestBrowser TestArtifacts"},
		},
		{
			Name:    "Requests forged by another site, and redirects to one",
			Control: "Acts take the session's token and come from our own origin; cookies are SameSite; the way back is a path of ours.",
			Try:     forgedRequests,
			Rooms:   []string{"server TestForgedRequests", "access TestLocalPath"},
		},
		{
			Name:    "Addresses written so that a check is missed",
			Control: "One router and one table; what is not in it is not there.",
			Try:     pathTricks,
			Rooms:   []string{"server TestPathTricks TestEveryRouteForEveryRole"},
		},
		{
			Name:    "Session fixation",
			Control: "A session is made at sign-in, with a value that nobody knew before; a cookie that was there is worth nothing.",
			Try:     fixedSession,
			Rooms:   []string{"access TestSessionFixation TestSessionExpiry TestOIDCBegin"},
		},
		{
			Name:    "Brute force of passwords and tokens",
			Control: "Tries are counted by name and by address, with growing pauses; an unknown name costs the same time. The count is in memory: a restart forgives.",
			Try:     bruteForce,
			Rooms:   []string{"access TestBruteForce TestBruteForceOfOneNameFromManyAddresses TestBruteForceAtOnce TestUnknownNameCostsTheSame", "server TestBruteForce"},
		},
		{
			Name:    "An account of the identity provider takes over one of ours",
			Control: "Who comes from there is known by issuer and subject alone; a name or a mail address that is the same means nothing. An admin links accounts.",
			Rooms:   []string{"access TestOIDCTakesOverNobody TestOIDCRefuses TestLink"},
		},
		{
			Name:    "Tokens, passwords and secrets in logs, errors, the record, on the disk",
			Control: "Tokens and passwords are kept as digests, secrets sealed with a key outside the database; addresses with credentials are refused.",
			Try:     canariesOnDisk,
			Rooms:   []string{"server TestNoSecretsInLogs", "secret TestDumpHoldsNoSecret", "access TestDumpHoldsNoSecret TestMistypedPasswordIsNotRecorded"},
		},
		{
			Name:    "The audit trail is altered, cut off, or put back to an older copy",
			Control: "Acts are leaves of a Merkle tree; a checkpoint that is kept elsewhere proves that all before it is there and unaltered, without the server.",
			Rooms:   []string{"access TestTrailFindsMutations TestTrailForked TestTrailStopsAtDamagedTiles TestProof TestVerifyNeedsTheRightThings"},
		},
		{
			Name:    "A part of a pipeline changes under its name",
			Control: "Which commit an action or a called workflow was is in the record of each run.",
			Rooms:   []string{"workspace TestSourcesFetch"},
			Open:    "a lock file that says what changed since.",
		},
		{
			Name:    "Slow clients, floods, endless logs",
			Control: "Time limits for headers, bodies and answers; limits on bodies, streams of one person, lines, matrices, inputs; a panic is one answer's end.",
			Try:     floods,
			Rooms:   []string{"server TestSlowClients TestStreamsAreCounted TestPanic", "logs TestLimits", "dialect/github TestMatrixProblems"},
		},
		{
			Name:    "A stolen backup",
			Control: "The database holds sealed secrets and digests; the key lies elsewhere.",
			Rooms:   []string{"secret TestKeysRefused TestDumpHoldsNoSecret FuzzOpen"},
		},
	}
}
