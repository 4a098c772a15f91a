// The JSON of `DeviceStatus.sample` with one volume only, which is being scrubbed, and rebuilt slowly to
// leave the appliance that is drained.
//
// A change of this text breaks scripts: add to it, but rename and remove nothing.

let goldenStatus = """
    {
      "appliances" : [
        {
          "address" : "unix:/tmp/x/a.sock",
          "allocatedBytes" : 1073741824,
          "capacityBytes" : 4294967296,
          "failureDomain" : "rack1",
          "incarnation" : "00000000000000010000000000000002",
          "isDraining" : false,
          "name" : "a",
          "pid" : 7,
          "residentBytes" : 1048576,
          "state" : "up"
        },
        {
          "address" : "tcp:192.0.2.7:7474",
          "allocatedBytes" : 0,
          "capacityBytes" : 8589934592,
          "isDraining" : true,
          "name" : "b",
          "residentBytes" : 0,
          "state" : "down"
        }
      ],
      "nbd" : [
        "unix:/tmp/x/nbd.sock",
        "tcp:127.0.0.1:10809"
      ],
      "pid" : 4242,
      "startedAt" : "2026-01-02T03:04:05Z",
      "version" : "1.2.3",
      "volumes" : [
        {
          "connections" : 1,
          "counters" : {
            "discards" : 4,
            "errors" : 5,
            "flushes" : 3,
            "readBytes" : 4096,
            "reads" : 1,
            "writes" : 2,
            "writtenBytes" : 8192
          },
          "epoch" : 3,
          "health" : "degraded",
          "id" : "00000000000000ab00000000000000cd",
          "layout" : "mirror:2",
          "members" : [
            {
              "appliance" : "a",
              "index" : 0,
              "isLeaving" : false,
              "region" : "00000000000000030000000000000004",
              "state" : "active"
            },
            {
              "appliance" : "b",
              "index" : 1,
              "isLeaving" : true,
              "rebuild" : {
                "bytesPerSecond" : 134217728,
                "doneBytes" : 268435456,
                "secondsLeft" : 6,
                "totalBytes" : 1073741824
              },
              "region" : "00000000000000050000000000000006",
              "state" : "rebuilding"
            }
          ],
          "name" : "vol0",
          "obstacle" : "needs memory",
          "ordering" : "parallel",
          "rebuildLimit" : 67108864,
          "reservedBytes" : 0,
          "scrub" : {
            "bytesPerSecond" : 134217728,
            "doneBytes" : 268435456,
            "secondsLeft" : 6,
            "totalBytes" : 1073741824
          },
          "sizeBytes" : 1073741824,
          "snapshots" : [
            {
              "appliance" : "a",
              "createdAt" : "2026-01-02T04:04:05Z",
              "name" : "s0",
              "residentBytes" : 12288,
              "sizeBytes" : 1073741824,
              "state" : "ready",
              "uri" : "nbd+unix:///vol0@s0?socket=/tmp/x/nbd.sock",
              "volume" : "vol0"
            }
          ],
          "uri" : "nbd+unix:///vol0?socket=/tmp/x/nbd.sock"
        }
      ]
    }
    """
