# Makes a container in the namespaces that it is started in, and becomes systemd in it:
# an empty directory for its root, and the program that is /test/bin there. Of the
# machine it has /usr, read-only, and nothing that could be changed.
set -e
new=$1
mount --make-rprivate /
mount -t tmpfs -o size=256m,mode=755 tmpfs "$new"
cd "$new"
mkdir -p usr proc sys dev run tmp var etc old test root
for l in bin sbin lib lib64; do ln -s usr/$l $l; done
mount --bind /usr usr
mount -o remount,bind,ro usr
cp /etc/passwd /etc/group etc/
[ ! -e /etc/ld.so.cache ] || cp /etc/ld.so.cache etc/
touch test/bin
mount --bind "$2" test/bin
mount -o remount,bind,ro test/bin
mount -t proc proc proc
# No unit but ours: those of the machine tidy up, and load, and set what is the kernel's.
mount -t tmpfs -o mode=755 tmpfs usr/lib/systemd/system
for t in nothing sysinit basic shutdown; do printf '[Unit]\nDefaultDependencies=no\n' >usr/lib/systemd/system/$t.target; done
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom; do
	touch dev/$d
	mount --bind /dev/$d dev/$d
	mount -o remount,bind,ro dev/$d
done
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
pivot_root . old
umount -l /old
cd /
rmdir /old
# Nothing of the machine may be here that could be changed.
if grep -vE '^(tmpfs|proc|sysfs|cgroup2|devtmpfs|none|udev) ' /proc/mounts | grep -vE '^[^ ]+ [^ ]+ [^ ]+ ro[, ]'; then
	echo "the machine could be changed from here"
	exit 1
fi
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=nothing.target --log-target=console --show-status=no
