/* The first sector: reads the rest with the BIOS, and goes to 32 bits without paging. */
    .code16
    .section .boot, "ax"
    .globl start
start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movb $0x42, %ah /* drive: still in %dl */
    movw $0x7c00 + (packet - start), %si
    int $0x13
1:  jc 1b
    cli
    lgdtl 0x7c00 + (table - start)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $in_32

    .balign 4
packet:
    .byte 16, 0
    .word sectors, 0, 0x1000 /* to 0x10000 */
    .quad 1
gdt:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table:
    .word 23
    .long 0x7c00 + (gdt - start)
    .org 510
    .word 0xaa55

    .code32
    .section .entry, "ax"
in_32:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x90000, %esp
    movl $bss_begin, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    call guest_main
2:  hlt
    jmp 2b

/* A hundred times a second; everything else is asked, and does not interrupt. */
    .globl on_tick
on_tick:
    pushl %eax
    incl ticks
    movb $0x20, %al
    outb %al, $0x20
    popl %eax
    iret

    .section .note.GNU-stack, "", @progbits
