// A fixed number of elements: all there, independent of each other, and nothing beside them.

import RemoteMemory
import Testing

@Suite struct FixedArrayTests {
    @Test(arguments: [1, 2, 63, 1000])
    func `every element can be set without the others changing`(count: Int) {
        let array = FixedArray(repeating: UInt64(7), count: count)
        #expect(array.count == count)
        #expect((0..<count).allSatisfy { array[$0] == 7 })
        for index in 0..<count { array[index] = UInt64(index) * 3 }
        #expect((0..<count).allSatisfy { array[$0] == UInt64($0) * 3 })
        array[count - 1] &+= 1
        #expect(array[count - 1] == UInt64(count - 1) * 3 + 1)
    }

    @Test func `reading outside is fatal`() async {
        await #expect(processExitsWith: .failure) {
            print(FixedArray(repeating: 7, count: 4)[4])
        }
        await #expect(processExitsWith: .failure) {
            print(FixedArray(repeating: 7, count: 4)[-1])
        }
        await #expect(processExitsWith: .failure) {
            print(FixedArray(repeating: 7, count: 4)[.max])
        }
    }

    @Test func `writing outside is fatal`() async {
        await #expect(processExitsWith: .failure) { FixedArray(repeating: 7, count: 4)[4] = 1 }
        await #expect(processExitsWith: .failure) { FixedArray(repeating: 7, count: 4)[-1] = 1 }
        await #expect(processExitsWith: .failure) { FixedArray(repeating: 7, count: 4)[.min] = 1 }
    }

    @Test func `an array of nothing is fatal`() async {
        await #expect(processExitsWith: .failure) {
            print(FixedArray(repeating: 7, count: 0).count)
        }
        await #expect(processExitsWith: .failure) {
            print(FixedArray(repeating: 7, count: -1).count)
        }
    }
}
