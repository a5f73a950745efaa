/* The program that the start-up jobs run: static, and does nothing. */
int main(void)
{
	return 0;
}
