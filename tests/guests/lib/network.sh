# The network as it was set up where the guest comes from: a static address of a network that the tests do not have,
# on a card that is not there.

network_ifupdown() {
    cat >"$tree/etc/network/interfaces" <<INTERFACES
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens192
iface ens192 inet static
    address $ADDRESS/24
    gateway 192.168.40.1
    dns-nameservers 192.168.40.2
INTERFACES
    cat >"$tree/etc/udev/rules.d/70-persistent-net.rules" <<RULES
# PCI device 0x15ad:0x07b0 (vmxnet3)
SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:50:56:9a:3c:41", ATTR{type}=="1", NAME="ens192"
RULES
}

network_networkd() {
    cat >"$tree/etc/systemd/network/10-ens192.network" <<NETWORK
[Match]
Name=ens192

[Network]
Address=$ADDRESS/24
Gateway=192.168.40.1
DNS=192.168.40.2
NETWORK
    cat >"$tree/etc/systemd/network/10-lan.link" <<LINK
[Match]
MACAddress=00:50:56:9a:3c:42

[Link]
Name=ens192
LINK
    chroot "$tree" systemctl --quiet enable systemd-networkd
}

network_netplan() {
    netplan_file 01-netcfg.yaml
    chroot "$tree" systemctl --quiet enable systemd-networkd
}

netplan_file() {
    mkdir -p "$tree/etc/netplan"
    cat >"$tree/etc/netplan/$1" <<NETPLAN
network:
  version: 2
  renderer: networkd
  ethernets:
    ens192:
      dhcp4: no
      addresses: [$ADDRESS/24]
      routes:
        - to: default
          via: 192.168.40.1
      nameservers:
        addresses: [192.168.40.2]
NETPLAN
    chmod 600 "$tree/etc/netplan/$1"
}

# cloud-init as VMware's customization leaves it: it wrote the network once and must not again, and its sources leave EC2
# out.
network_cloud_init() {
    network_netplan
    mv "$tree/etc/netplan/01-netcfg.yaml" "$tree/etc/netplan/50-cloud-init.yaml"
    mkdir -p "$tree/etc/cloud/cloud.cfg.d"
    echo 'datasource_list: [ NoCloud, None ]' >"$tree/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
    echo 'network: { config: disabled }' >"$tree/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"
}

network_networkmanager() {
    mkdir -p "$tree/etc/NetworkManager/system-connections"
    cat >"$tree/etc/NetworkManager/system-connections/ens192.nmconnection" <<KEYFILE
[connection]
id=ens192
uuid=$(new_uuid)
type=ethernet
interface-name=ens192

[ethernet]
mac-address=00:50:56:9A:3C:43

[ipv4]
method=manual
address1=$ADDRESS/24,192.168.40.1
dns=192.168.40.2;

[ipv6]
method=disabled
KEYFILE
    chmod 600 "$tree/etc/NetworkManager/system-connections/ens192.nmconnection"
    chroot "$tree" systemctl --quiet enable NetworkManager
}
