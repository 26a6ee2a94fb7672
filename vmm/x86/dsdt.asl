// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine's fixed devices, the same for every machine: PCI enumerates the rest. The numbers
 * are those of keel/x86_layout.h and keel/irq.h; a unit test compares them.
 */
DefinitionBlock ("", "DSDT", 2, "KEEL  ", "KEELVM  ", 0x00000001)
{
    // Soft-off: SLP_TYP 5 in the sleep control register
    Name (\_S5, Package (0x04) { 0x05, 0x05, 0x00, 0x00 })

    Scope (\_SB)
    {
        Device (PC00)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_SEG, Zero)
            Name (_BBN, Zero)
            Name (_CCA, One)
            Name (_PXM, Zero)

            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0x00000000, 0xC0000000, 0xDFFFFFFF, 0x00000000, 0x20000000)
            })

            // All devices interrupt by MSI-X: no INTx pin is routed
            Name (_PRT, Package () {})

            // Function 5: 0 asks the system to keep the BARs where they are
            Method (_DSM, 4, Serialized)
            {
                If (LEqual (Arg0, ToUUID ("e5c937d0-3553-4d7a-9117-ea4d19c3434d")))
                {
                    If (LEqual (Arg2, Zero))
                    {
                        Return (Buffer (One) { 0x21 })
                    }
                    If (LEqual (Arg2, 0x05))
                    {
                        Return (Zero)
                    }
                }
                Return (Buffer (One) { 0x00 })
            }
        }

        // What no other device claims: ECAM, power management, test device
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
                IO (Decode16, 0x0600, 0x0600, 0x01, 0x08)
                IO (Decode16, 0x0680, 0x0680, 0x01, 0x10)
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, One)
            Name (_DDN, "COM1")
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
            })
        }

        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 8 }
            })
        }

        Device (PWRB)
        {
            Name (_HID, EisaId ("PNP0C0C"))
            Name (_UID, Zero)
        }

        // Generic Event Device: the event register says what happened and is cleared by reading
        Device (GED0)
        {
            Name (_HID, "ACPI0013")
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 9 }
            })
            OperationRegion (GEDR, SystemIO, 0x0604, 0x04)
            Field (GEDR, DWordAcc, NoLock, WriteAsZeros)
            {
                EVTS, 32
            }
            Method (_EVT, 1, Serialized)
            {
                Store (EVTS, Local0)
                If (And (Local0, One))
                {
                    Notify (\_SB.PWRB, 0x80)
                }
            }
        }
    }
}
