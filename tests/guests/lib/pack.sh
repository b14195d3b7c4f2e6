# The finished disk in the formats that backups come in.

pack_vmdk() {
    local disk
    for disk in "$out"/guest*.raw; do
        qemu-img convert -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic,hwversion=10 "$disk" "${disk%.raw}.vmdk"
    done
}

# What a test may want to know about the guest, as NAME=value lines.
write_facts() {
    {
        echo "VARIANT=$variant"
        echo "KERNEL=$KERNEL"
        echo "HOSTNAME=$HOSTNAME_"
        echo "PASSWORD=$PASSWORD"
        echo "FIRMWARE=$FIRMWARE"
        echo "ROOT_UUID=$ROOT_UUID"
        echo "LAYOUT=$(printf '%s;' "${LAYOUT[@]}" | tr -s ' ')"
    } >"$out/facts.env"
}

# An OVA as a hypervisor exports it: descriptor first, then the manifest, then the disk.
pack_ova() {
    # One guest in this format is enough for the tests.
    [ -n "${OVA:-}" ] || return 0
    local capacity size firmware=
    capacity=$(stat -c %s "$out/guest.raw")
    size=$(stat -c %s "$out/guest.vmdk")
    if [ "$FIRMWARE" = uefi ]; then
        firmware='<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
    fi
    mkdir "$work/ova"
    ln "$out/guest.vmdk" "$work/ova/$HOSTNAME_-disk1.vmdk"
    cat >"$work/ova/$HOSTNAME_.ovf" <<OVF
<?xml version="1.0" encoding="UTF-8"?>
<Envelope vmw:buildId="build-20395099" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <References>
    <File ovf:href="$HOSTNAME_-disk1.vmdk" ovf:id="file1" ovf:size="$size"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="$((capacity / 1048576))" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name="VM Network">
      <Description>The VM Network network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="$HOSTNAME_">
    <Info>A virtual machine</Info>
    <Name>$HOSTNAME_</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest">
      <Info>The kind of installed guest operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>$HOSTNAME_</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:Description>Number of Virtual CPUs</rasd:Description>
        <rasd:ElementName>2 virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory Size</rasd:Description>
        <rasd:ElementName>2048MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>2048</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>SCSI Controller</rasd:Description>
        <rasd:ElementName>SCSI Controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:ElementName>Network adapter 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      $firmware
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
OVF
    (
        cd "$work/ova"
        for file in "$HOSTNAME_.ovf" "$HOSTNAME_-disk1.vmdk"; do
            echo "SHA256($file)= $(sha256sum "$file" | cut -d' ' -f1)"
        done >"$HOSTNAME_.mf"
        tar --format=ustar --owner=0 --group=0 -cf "$out/guest.ova" "$HOSTNAME_.ovf" "$HOSTNAME_.mf" "$HOSTNAME_-disk1.vmdk"
    )
    rm -r "$work/ova"
}
