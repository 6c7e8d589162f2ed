package trace

import "golang.org/x/sys/unix"

func exchange(a *actor, from, to string) error {
	a.l.rename(a.at(from), a.at(to), renameExchange)
	return unix.Renameat2(unix.AT_FDCWD, a.at(from), unix.AT_FDCWD, a.at(to), unix.RENAME_EXCHANGE)
}
