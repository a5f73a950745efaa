/* trimaran.linux._sys: the system calls that the standard library lacks. No policy, no state. */
#include "ext.h"

static PyMethodDef *const method_tables[] = {
    process_methods,
    tree_methods,
    machine_methods,
    netns_methods,
    mount_methods,
    disk_methods,
    notify_methods,
    memory_methods,
    sandbox_methods,
};

static int add_methods(PyObject *module)
{
    for (size_t i = 0; i < sizeof method_tables / sizeof *method_tables; i++)
        if (PyModule_AddFunctions(module, method_tables[i]))
            return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_methods},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_sys",
    .m_doc = "System calls that the standard library lacks.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__sys(void)
{
    return PyModuleDef_Init(&definition);
}
