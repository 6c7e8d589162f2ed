package harvest

// format is a format of test results.
type format struct {
	name string // as reports are said to be in it, and in links
	// title, of and note are for people: the format, the tools that write it,
	// what is peculiar about how it is read.
	title, of, note string
	// files is what reports are commonly called, and how their names end:
	// "*.trx". It is how they are looked for; what a file is says its content.
	files []string
	is    func(*sniff) bool
	read  func(*input, *tally) error
}

// formats is every format of test results, in the order in which a report is
// held against them.
var formats = []format{
	{
		name: "go-test", title: "go test", of: "go test -json, go test, gotestsum --jsonfile",
		is:   isGoTest,
		read: readGoTest,
	},
	{
		name: "junit", title: "JUnit XML", of: "Surefire, Gradle, Ant, pytest, jest-junit, and many more",
		is:   isJUnit,
		read: readJUnit,
	},
}
