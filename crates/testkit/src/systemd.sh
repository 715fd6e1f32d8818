# Boots a systemd of its own in the namespaces of who runs this, a mount namespace among them.
# $1: a folder that is gone afterwards; $2: a control group of version 2; $3 and so on: units of the
# machine's that it has. What it writes below /etc, /usr/local and /var nobody else sees.
set -e
own=$1
group=$2
shift 2
echo $$ >"$group/cgroup.procs"
mount --make-rprivate /
mount -t tmpfs tmpfs "$own"
for folder in etc usr/local var; do
    mkdir -p "$own/$folder/upper" "$own/$folder/work"
    mount -t overlay overlay \
        -o "lowerdir=/$folder,upperdir=$own/$folder/upper,workdir=$own/$folder/work" "/$folder"
done
# None of the machine's services, neither by a unit nor by what makes units of other things.
mkdir "$own/units"
for unit; do cp "/lib/systemd/system/$unit" "$own/units/"; done
mount --bind "$own/units" /lib/systemd/system
mount -t tmpfs tmpfs /lib/systemd/system-generators
mount -t tmpfs tmpfs /etc/systemd/system
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
exec unshare --cgroup --uts --ipc --pid --fork --kill-child --mount-proc sh -ec '
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount --bind /proc/sys /proc/sys
    mount -o remount,ro,bind /proc/sys
    exec env -i container=sipward-testkit PATH="$PATH" \
        /lib/systemd/systemd --system --unit=multi-user.target --log-target=null --show-status=no'
