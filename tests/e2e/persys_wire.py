"""The compute agent's messages as its contract lists them (1.1), and their bytes made by hand: nothing here comes from the .proto."""
import struct

VARINT, FIXED64, BYTES = 0, 1, 2

# message: "number name:type", one a field; * repeated, map: text to text.
MESSAGES = {
    "ApplyWorkloadRequest": "1 id:string 2 type:WorkloadType 3 revision_id:string 4 desired_state:DesiredState 5 spec:WorkloadSpec",
    "ApplyWorkloadResponse": "1 applied:bool 2 skipped:bool 3 message:string 4 status:WorkloadStatus",
    "DeleteWorkloadRequest": "1 id:string",
    "DeleteWorkloadResponse": "1 success:bool 2 message:string",
    "GetWorkloadStatusRequest": "1 id:string",
    "GetWorkloadStatusResponse": "1 status:WorkloadStatus",
    "ListWorkloadsRequest": "1 type:WorkloadType",
    "ListWorkloadsResponse": "1 workloads:*WorkloadStatus",
    "HealthCheckRequest": "",
    "HealthCheckResponse": "1 healthy:bool 2 version:string 3 runtime_status:map 4 memory_utilization:double 5 cpu_utilization:double "
                           "6 disk_utilization:double",
    "ListActionsRequest": "1 workload_id:string 2 action_type:string 3 status:string 4 limit:int32 5 newest_first:bool",
    "AgentAction": "1 task_id:string 2 workload_id:string 3 action_type:string 4 status:string 5 error:string 6 created_at:int64 "
                   "7 started_at:int64 8 ended_at:int64",
    "ListActionsResponse": "1 actions:*AgentAction",
    "WorkloadSpec": "1 container:ContainerSpec 2 compose:ComposeSpec 3 vm:VMSpec",
    "ContainerSpec": "1 image:string 2 command:*string 3 args:*string 4 env:map 5 volumes:*VolumeMount 6 ports:*PortMapping "
                     "7 resources:ResourceLimits 8 restart_policy:RestartPolicy 9 labels:map 10 managed_volumes:*ManagedVolumeSpec",
    "ComposeSpec": "1 project_name:string 2 compose_yaml:string 3 env:map",
    "VMSpec": "1 name:string 2 vcpus:int32 3 memory_mb:int64 4 disks:*DiskConfig 5 networks:*NetworkConfig 6 cloud_init:string "
              "7 metadata:map 8 cloud_init_config:CloudInitConfig 9 managed_volumes:*ManagedVolumeSpec "
              "10 os_image:string 11 disk_gb:int64",
    "CloudInitConfig": "1 user_data:string 2 meta_data:string 3 network_config:string 4 vendor_data:string 5 username:string "
                       "6 ssh_public_key:string 7 password:string",
    "ManagedVolumeSpec": "1 name:string 2 driver:string 3 size_gb:int64 4 access_mode:string 5 fs_type:string 6 mount_path:string "
                         "7 read_only:bool 8 retain_policy:string",
    "VolumeMount": "1 host_path:string 2 container_path:string 3 read_only:bool",
    "PortMapping": "1 host_port:int32 2 container_port:int32 3 protocol:string",
    "ResourceLimits": "1 cpu_shares:int64 2 memory_bytes:int64 3 memory_swap_bytes:int64",
    "RestartPolicy": "1 policy:string 2 max_retry_count:int32",
    "DiskConfig": "1 path:string 2 device:string 3 format:string 4 size_gb:int64 5 type:string 6 boot:bool 7 backing_file:string",
    "NetworkConfig": "1 network:string 2 mac_address:string 3 ip_address:string 5 model:string 6 bridge:string",
    "WorkloadStatus": "1 id:string 2 type:WorkloadType 3 revision_id:string 4 desired_state:DesiredState 5 actual_state:ActualState "
                      "6 message:string 7 created_at:int64 8 updated_at:int64 9 metadata:map 10 usage:WorkloadUsageSnapshot",
    "WorkloadUsageSnapshot": "1 workload_id:string 2 type:WorkloadType 3 cpu_percent:double 4 memory_bytes:int64 5 disk_read_bytes:int64 "
                             "6 disk_write_bytes:int64 7 net_rx_bytes:int64 8 net_tx_bytes:int64 9 collected_at:int64 10 source:string",
}
ENUMS = {
    "WorkloadType": ("WORKLOAD_TYPE_", "UNSPECIFIED CONTAINER COMPOSE VM"),
    "DesiredState": ("DESIRED_STATE_", "UNSPECIFIED RUNNING STOPPED"),
    "ActualState": ("ACTUAL_STATE_", "UNSPECIFIED PENDING RUNNING STOPPED FAILED UNKNOWN"),
}
METHODS = ("ApplyWorkload", "DeleteWorkload", "GetWorkloadStatus", "ListWorkloads", "HealthCheck", "ListActions")


def fields(message):
    """[(number, name, type, repeated)]"""
    words = MESSAGES[message].split()
    return [(int(n), *d.split(":")[:1], d.split(":")[1].lstrip("*"), "*" in d) for n, d in zip(words[::2], words[1::2])]


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, wire, value):
    """One field: its key, and the value in that wire type."""
    key = varint(number << 3 | wire)
    if wire == VARINT:
        return key + varint(value)
    if wire == FIXED64:
        return key + struct.pack("<d", value)
    return key + varint(len(value)) + value


def one(number, type_, value):
    """A value of a type of the table."""
    if type_ == "string":
        return field(number, BYTES, value.encode())
    if type_ == "double":
        return field(number, FIXED64, value)
    if type_ == "map":
        return b"".join(field(number, BYTES, one(1, "string", k) + one(2, "string", v)) for k, v in value.items())
    if type_ in MESSAGES:
        return field(number, BYTES, build(type_, value))
    return field(number, VARINT, int(value))


def build(message, values):
    """The bytes of a message from {name: value}; a list for what is repeated."""
    out = b""
    for number, name, type_, repeated in fields(message):
        if name in values:
            out += b"".join(one(number, type_, v) for v in (values[name] if repeated else [values[name]]))
    return out


def cut_varint(b, at):
    n = shift = 0
    while True:
        n |= (b[at] & 127) << shift
        shift += 7
        at += 1
        if not b[at - 1] & 128:
            return n, at


def parse(message, b):
    """{name: value} of bytes; a field that is not in the table, or of another wire type, is a failure."""
    table, out, at = {f[0]: f for f in fields(message)}, {}, 0
    while at < len(b):
        key, at = cut_varint(b, at)
        number, wire = key >> 3, key & 7
        assert number in table, f"{message} has no field {number}"
        _, name, type_, repeated = table[number]
        want = BYTES if type_ in ("string", "map") or type_ in MESSAGES else FIXED64 if type_ == "double" else VARINT
        assert wire == want, f"{message}.{name} came as wire type {wire}"
        if wire == VARINT:
            value, at = cut_varint(b, at)
            value = value - (1 << 64) if value >> 63 else value
        elif wire == FIXED64:
            value, at = struct.unpack_from("<d", b, at)[0], at + 8
        else:
            n, at = cut_varint(b, at)
            value, at = b[at:at + n], at + n
            assert len(value) == n
            if type_ == "string":
                value = value.decode()
            elif type_ in MESSAGES:
                value = parse(type_, value)
        if type_ == "map":
            pair = parse_entry(value)
            out.setdefault(name, {})[pair.get(1, "")] = pair.get(2, "")
        elif repeated:
            out.setdefault(name, []).append(value)
        else:
            out[name] = value
    return out


def parse_entry(b):
    out, at = {}, 0
    while at < len(b):
        key, at = cut_varint(b, at)
        assert key in (1 << 3 | BYTES, 2 << 3 | BYTES)
        n, at = cut_varint(b, at)
        out[key >> 3], at = b[at:at + n].decode(), at + n
    return out


def sample(message, seed=1):
    """Values for every field, each its own; of a message with alternatives the first."""
    out = {}
    for number, name, type_, repeated in fields(message):
        k = seed * 31 + number
        if message == "WorkloadSpec" and number != 1 + seed % 3:
            continue
        value = (f"{name}-{k}" if type_ == "string" else True if type_ == "bool" else k + 0.5 if type_ == "double"
                 else {f"k{k}": f"v{k}", "": "empty"} if type_ == "map" else 1 if type_ in ENUMS
                 else sample(type_, k) if type_ in MESSAGES else k * (1 << 33) if type_ == "int64" else k)
        out[name] = [value, value] if repeated else value
    return out
