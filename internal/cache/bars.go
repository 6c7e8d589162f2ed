package cache

import (
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Barrier is a kind of reason why a step cannot be reused, in words.
type Barrier struct {
	Kind   string
	Why    string // a clause about the step: "it talked to another machine"
	WayOut string // what a user can do about it; "" when nothing
	// Lifted names the declarations in fairlead.yaml that lift it.
	Lifted string
}

// Barriers is the table of all of them, in the order of the documentation.
func Barriers() []Barrier {
	return []Barrier{
		{record.BarFailed, "it did not succeed", "", ""},
		{record.BarDeclared, "the project says that it is never to be reused", "take `never` off its declaration in fairlead.yaml", ""},
		{record.BarNetwork, "it talked to another machine", "if what comes back is determined by its inputs, such as a lock file, declare `network: pinned` for it in fairlead.yaml; if it does not matter, `network: ignore` with a `max-age`", "network"},
		{record.BarSocket, "it talked to a program that was there before", "what that program does cannot be seen; if it does not matter, declare `network: pinned` or `network: ignore` for the step in fairlead.yaml", "network"},
		{record.BarOutside, "it changed files outside of its workspace", "let it write below the workspace or a temporary directory; if the place is a cache, name it under `zones` in fairlead.yaml", "zones"},
		{record.BarVolume, "it used a volume of the container", "give it what it needs below the workspace, or mount a directory of this machine", ""},
		{record.BarSecret, "what it set holds a secret, or it named a value that is to be masked", "hand the secret to the steps that need it instead of passing it on", ""},
		{record.BarProcesses, "it left processes running", "end them in the step, or start them in a step of their own", ""},
		{record.BarHazard, "a step at the same time touched the same files", "let one wait for the other", ""},
		{record.BarMoved, "somebody else changed a file while it was reading it", "run it again", ""},
		{record.BarIPC, "it shared memory or a queue with others", "", ""},
		{record.BarDevice, "it used a device", "", ""},
		{record.BarNamespace, "it changed how it sees the file system (mount, chroot, unshare)", "", ""},
		{record.BarUnsupported, "it left something that is no file, directory or link", "remove it at the end of the step", ""},
		{record.BarTooMuch, "it left more than is kept", "", ""},
		{record.BarProtocol, "what it said cannot be said again", "", ""},
		{record.BarParts, "its tests ran one by one, and each is remembered by itself", "", ""},
		{record.BarUnstable, "it did something else the second time, with the same inputs", "make it reproducible (times, random names, the order of a directory), then run it with --verify", ""},
		{record.BarOff, "watching it has cost more than it saved, so it is left alone for a while", "", ""},
		{record.BarNotWatched, "it could not be watched", "", ""},
		{record.BarLost, "watching it broke off", "", ""},
	}
}

// Explain puts a bar into words.
func Explain(b record.Bar) Barrier {
	for _, x := range Barriers() {
		if x.Kind == b.Kind {
			if b.Detail != "" {
				x.Why += ": " + strings.TrimSpace(b.Detail)
			}
			return x
		}
	}
	return Barrier{Kind: b.Kind, Why: strings.TrimSpace(b.Kind + " " + b.Detail)}
}
